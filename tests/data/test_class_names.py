"""Names of classes, from whatever packages are installed."""

import subprocess
import sys

import pytest

from vit_jax.data import class_names
from vit_jax.data.class_names import (
    EMPTY_ROWS,
    class_ids,
    readable,
    released_rows,
)

names = class_names.class_names
has_timm = class_ids("imagenet21k") is not None


@pytest.fixture
def without_timm(monkeypatch):
  """As where timm is not installed."""
  find = class_names._path
  monkeypatch.setattr(
      class_names, "_path",
      lambda package, file: None if package == "timm" else find(package, file))
  cached = (class_names._read_list, class_names._lemmas)
  for function in cached:
    function.cache_clear()
  yield
  for function in cached:
    function.cache_clear()


def test_imagenet_1k_needs_nothing_installed(without_timm):
  found = names("imagenet2012", 1000)
  assert len(set(found)) == 1000
  assert found[0] == "tench, Tinca tinca" and found[999].startswith("toilet t")
  assert {found[134], found[517]} == {"crane (bird)", "crane (machine)"}
  assert names("imagenet2012", 1001) is None
  assert class_ids("imagenet2012")[0] == "n01440764"


def test_data_sets_go_by_all_their_names():
  assert names("tfds:imagenet2012_256", 1000) == names("imagenet2012", 1000)
  found = names("imagenette/320px-v2:1.0.0", 10)
  assert found[0] == "tench, Tinca tinca" and len(found) == 10


@pytest.mark.parametrize("dataset,count,label,name", [
    ("oxford_iiit_pet", 37, 0, "Abyssinian"),
    ("oxford_flowers102", 102, 50, "petunia"),
    ("caltech101", 102, 0, "accordion"), ("dtd", 47, 0, "banded"),
    ("eurosat", 10, 0, "AnnualCrop"), ("resisc45", 45, 0, "airplane"),
    ("sun397", 397, 0, "/a/abbey"), ("food101", 101, 0, "apple_pie")])
def test_transfer_sets(dataset, count, label, name):
  found = names(dataset, count)
  assert len(set(found)) == count
  assert found[label] == name


def test_unknown_is_none():
  assert names("jft300m", 18_291) is None
  assert names("cifar100", 100) is None  # Its archive has them, no package.


def test_imagenet_21k_without_timm(without_timm):
  assert names("imagenet21k", 21_843) is None
  assert released_rows(["n01440764"]) is None
  # Of ImageNet-1k's classes the words are known, of others the ids stay.
  assert readable(["n01440764", "n00004475", "x"]) == (
      "tench, Tinca tinca", "n00004475", "x")


@pytest.mark.skipif(not has_timm, reason="timm is not installed")
def test_imagenet_21k_with_timm():
  found = names("imagenet21k", 21_843)
  ids = class_ids("imagenet21k")
  assert found[0] == "organism, being"
  assert found[ids.index("n02084071")].startswith("dog, domestic dog")
  assert len(set(found)) == 21_843  # Namesakes carry their ids.
  assert found[ids.index("n01440764")] == names("imagenet2012", 1000)[0]


@pytest.mark.skipif(not has_timm, reason="timm is not installed")
def test_rows_follow_the_sorted_ids_and_two_are_empty():
  """The rule that is used without timm is what timm's tables say."""
  fall11, rows = class_ids("imagenet21k_fall11"), class_ids("imagenet21k")
  assert len(fall11) == 21_841 and set(rows) - set(fall11) == set(EMPTY_ROWS)
  assert list(rows) == sorted({*fall11, *EMPTY_ROWS})
  known = released_rows(fall11)
  assert [rows[row] for row in known] == list(fall11)
  assert known != list(range(21_841))
  assert released_rows(["n01440764", "n99999999"]) is None


def test_other_names_stay():
  assert readable(("cat", "dog")) == ("cat", "dog")
  assert readable(()) == ()


def test_nothing_heavy_is_imported():
  code = ("import sys; from vit_jax.data.class_names import class_names; "
          "assert class_names('imagenet2012', 1000); "
          "class_names('imagenet21k', 21843); "
          "assert not {'timm', 'torch', 'tensorflow', 'jax', "
          "'tensorflow_datasets'} & set(sys.modules)")
  subprocess.run([sys.executable, "-c", code], check=True)

"""A slice is a fixed random sample of every class, whatever the order."""

from collections import Counter

from made_folders import files, labels, make
import numpy as np
import pytest

from vit_jax.data.sources import make_source
from vit_jax.data.sources.sample import mixed_order, select, split_of
from vit_jax.errors import DataError, UsageError

NAMES = [f"train/{name}/{i}.jpg" for name in "abcdefghij" for i in range(30)]
LABELS = np.repeat(np.arange(10), 30)
SPLITS = {"train": np.arange(200), "val": np.arange(200, 300)}


def choose(text, names=NAMES):
  return select(text, SPLITS, names, LABELS).tolist()


@pytest.mark.parametrize("percent", [1, 10, 33, 50, 90, 98])
def test_complements_partition_a_split(percent):
  low, high = (choose(f"train[:{percent}%]"), choose(f"train[{percent}%:]"))
  assert sorted(low + high) == list(range(200))
  assert len(low) == 2 * percent


def test_middle_slices_partition_too():
  parts = [choose(f"train[{i}:{i + 40}]") for i in range(0, 200, 40)]
  assert sorted(sum(parts, [])) == list(range(200))


@pytest.mark.parametrize("text", ["train[:50%]", "train[25%:75%]",
                                  "train[100:]", "train[-30:]"])
def test_every_class_has_its_share(text):
  counts = np.bincount(LABELS[choose(text)], minlength=10)
  assert counts[:6].max() - counts[:6].min() <= 2
  # Of the seventh class only 20 of 30 are in the split.
  assert (counts[:6] > counts[6]).all() and counts[6]


def test_a_slice_is_no_run_of_files():
  """Not the first of each class, as a slice of a sorted list would be."""
  chosen = np.array(choose("train[:50%]")) % 30
  assert 12 < chosen.mean() < 17
  assert np.count_nonzero(np.diff(choose("train[:50%]")) > 1) > 30


def test_the_order_within_a_split_stays():
  assert choose("train") == list(range(200))
  chosen = choose("train[:40%]")
  assert chosen == sorted(chosen)
  assert choose("val+train[:3]")[:100] == list(range(200, 300))


def test_known_answers():
  """The same on every machine and in every version."""
  names = [f"{i}.jpg" for i in range(8)]
  assert mixed_order(names, np.zeros(8, int)).tolist() == [
      2, 6, 4, 3, 5, 1, 0, 7]
  assert mixed_order(["a", "b", "c", "d"], np.array([0, 0, 1, 1])).tolist() == [
      2, 0, 3, 1]


def test_it_depends_on_names_alone():
  moved = [name.replace("train/", "train/") for name in NAMES]
  assert choose("train[:10%]", moved) == choose("train[:10%]")
  other = [name.replace("train/", "Train/") for name in NAMES]
  assert choose("train[:10%]", other) != choose("train[:10%]")
  composed, decomposed = "caf\u00e9/{}.jpg", "cafe\u0301/{}.jpg"
  one, two = (mixed_order([name.format(i) for i in range(50)],
                          np.zeros(50, int)).tolist()
              for name in (composed, decomposed))
  assert one == two != list(range(50))


def test_an_added_image_moves_few_others():
  before = {NAMES[i] for i in choose("train[:50%]")}
  names = NAMES[:30] + ["train/a/new.jpg"] + NAMES[30:]
  classes = np.insert(LABELS, 30, 0)
  after = {names[i] for i in select(
      "train[:50%]", {"train": np.arange(201)}, names, classes)}
  assert len(before - after) <= 3


def test_all_is_every_split():
  assert choose("all") == list(range(300))
  assert sorted(choose("all[:10%]") + choose("all[10%:]")) == list(range(300))


def test_unknown_and_empty_splits_are_named():
  with pytest.raises(UsageError, match="no split 'test'; there are: all, trai"):
    choose("test")
  with pytest.raises(DataError, match="holds no example"):
    choose("train[:0]")


def test_the_default_splits_of_recipes_keep_every_class(tmp_path):
  """train[:98%] of a folder left out its last classes."""
  make(tmp_path, "train/{a,b,c,d,e,f,g,h,i,j}/*.jpg", count=50)
  large, small = (make_source(str(tmp_path), split=split)
                  for split in ("train[:98%]", "train[98%:]"))
  assert Counter(labels(large)) == Counter(dict.fromkeys(range(10), 49))
  assert Counter(labels(small)) == Counter(dict.fromkeys(range(10), 1))
  assert not set(files(large, tmp_path)) & set(files(small, tmp_path))


@pytest.mark.parametrize("layout", ["{a,b}/*.jpg", "train/{a,b}/*.jpg"])
def test_slices_of_both_layouts_are_mixed(tmp_path, layout):
  make(tmp_path, layout, count=60)
  half = make_source(str(tmp_path), split="train[:50%]")
  counts = np.bincount(labels(half), minlength=2)
  whole = np.bincount(labels(make_source(str(tmp_path), split="train")))
  assert abs(counts / counts.sum() - whole / whole.sum()).max() < 0.02


def test_a_split_that_lacks_a_class_or_is_small_is_named(tmp_path, caplog):
  make(tmp_path, "train/{cat,dog,emu}/*.jpg")
  make(tmp_path, "test/{cat,dog}/*.jpg", count=4)
  make_source(str(tmp_path), split="train")
  assert not caplog.text
  for _ in range(2):
    make_source(str(tmp_path), split="test")
  assert caplog.messages == [
      f"{tmp_path}, test: only 8 images, no image of emu"]
  make_source(str(tmp_path), split="train[:2]")
  assert f"{tmp_path}, train[:2]: only 2 images, no image of" in caplog.text


def test_small_splits_of_other_sources_are_named(caplog):
  make_source("digits", split="val[:10]")
  assert not caplog.text
  make_source("digits", split="val[:9]")
  assert "digits, val[:9]: only 9 images" in caplog.text


def test_hash_split_has_its_shares():
  counts = Counter(split_of(f"x/{i}.jpg") for i in range(5000))
  assert 3900 < counts["train"] < 4100
  assert 430 < counts["val"] < 570

"""MNIST's files: read exactly, or refused in one line."""

import gzip
import pickle
import re
import struct

import numpy as np
import pytest

from vit_jax.data.sources import (
  fingerprint,
  idx,
  idx_file,
  make_source,
  split_sizes,
)
from vit_jax.errors import DataError, UsageError


def write(path, array, zipped=False, kind=0x08, extra=b""):
  data = (bytes([0, 0, kind, array.ndim])
          + struct.pack(f">{array.ndim}I", *array.shape)
          + array.astype(np.uint8).tobytes() + extra)
  path.write_bytes(gzip.compress(data) if zipped else data)
  return data


@pytest.fixture
def folder(tmp_path):
  """60 training and 20 test pictures whose pixels tell their number."""
  for name, count, start, zipped in (
      ("train", 60, 0, True), ("t10k", 20, 60, False)):
    numbers = np.arange(start, start + count)
    images = np.zeros((count, 4, 5)) + numbers[:, None, None]
    images[:, 0, 1] = 200  # rows and columns are not confused
    end = ".gz" if zipped else ""
    write(tmp_path / f"{name}-images-idx3-ubyte{end}", images, zipped)
    write(tmp_path / f"{name}-labels-idx1-ubyte{end}", numbers % 3, zipped)
  return tmp_path


def read(folder, split="all"):
  return make_source(f"idx:{folder}", split=split)


def numbers(source):
  return [int(source[i]["image"][3, 4, 0]) for i in range(len(source))]


def refusal(folder, split="all", error=DataError):
  with pytest.raises(error) as raised:
    read(folder, split)
  assert "\n" not in str(raised.value)
  return str(raised.value)


def test_every_picture_and_its_label(folder):
  source = read(folder)
  assert numbers(source) == list(range(80))
  for i in range(80):
    example = source[i]
    assert example["label"] == i % 3 == source.labels[i]
    assert example["image"].shape == (4, 5, 3)
    assert example["image"][0, 1].tolist() == [200] * 3
    assert example["image"].max() == 200
  assert source[61]["id"] == "test 1"
  assert (source.num_classes, source.class_names) == (3, None)
  assert numbers(pickle.loads(pickle.dumps(read(folder, "test")))) == list(
      range(60, 80))
  assert split_sizes(f"idx:{folder}") == {"train": 60, "test": 20}


def test_a_slice_is_a_sample_of_all_classes_that_leaves_none_out(folder):
  parts = [read(folder, split) for split in ("train[:80%]", "train[80%:]")]
  assert sorted(sum(map(numbers, parts), [])) == list(range(60))
  for part, count in zip(parts, (16, 4), strict=True):
    assert np.bincount(part.labels).tolist() == [count] * 3
  assert refusal(folder, "val", UsageError)


def test_relative_to_the_data_and_independent_of_the_place(folder, tmp_path):
  here = make_source(
      f"idx:{folder.name}", split="test", data_dir=str(folder.parent))
  assert numbers(here) == list(range(60, 80))
  assert fingerprint(here) == fingerprint(read(folder, "test"))
  assert fingerprint(here) != fingerprint(read(folder, "train"))


@pytest.mark.parametrize("names", [
    "{}-images.idx3-ubyte {}-labels.idx1-ubyte",
    "{}-images-idx3-ubyte.gz {}-labels-idx1-ubyte"])
def test_names_in_use(tmp_path, names):
  images, labels = names.format("train", "train").split()
  write(tmp_path / images, np.ones((3, 2, 2)), images.endswith("gz"))
  write(tmp_path / labels, np.arange(3))
  (tmp_path / "README.md").write_text("x")
  assert len(read(tmp_path, "train")) == 3


def test_a_file_that_changes_is_read_again(folder):
  assert numbers(read(folder, "test[:1]"))[0] >= 60
  write(folder / "t10k-images-idx3-ubyte", np.full((20, 4, 5), 7.0))
  assert set(numbers(read(folder, "test"))) == {7}


LABELS = "t10k-labels-idx1-ubyte"
IMAGES = "t10k-images-idx3-ubyte"


@pytest.mark.parametrize("name, damage, words", [
    (LABELS, lambda d: d[:-1], "19 of 20 numbers; it is truncated|more than"),
    (LABELS, lambda d: d + b"x", "goes on after its 20 numbers"),
    (IMAGES, lambda d: d[:-1], "truncated"),
    (IMAGES, lambda d: d + b"x", "goes on after its 400 numbers"),
    (IMAGES, lambda d: d[:7], "it is truncated"),
    (IMAGES, lambda d: d[:3], "not an IDX file"),
    (IMAGES, lambda d: b"", "not an IDX file"),
    (IMAGES, lambda d: b"\x89PNG" + d, "not an IDX file"),
    (IMAGES, lambda d: d[:2] + b"\x0d" + d[3:], "holds floats; .* unsigned"),
    (IMAGES, lambda d: d[:3] + b"\4" + d[4:], "4 dimensions; 3 were expected"),
    (IMAGES, lambda d: d[:4] + b"\xff" * 4 + d[8:], "4294967295x4x5 .*damaged"),
    (IMAGES, lambda d: d[:4] + b"\0\1\0\0" + d[8:], "more than it can hold"),
    (IMAGES, lambda d: d[:4] + b"\0\0\0\0" + d[8:], "0x4x5 .*empty"),
    (IMAGES, lambda d: gzip.compress(d)[:-5], "damaged or truncated"),
    (IMAGES, lambda d: gzip.compress(d)[:40] + b"abcdefgh", "damaged"),
    (IMAGES, lambda d: gzip.compress(d[:4] + bytes([0, 0, 0, 19]) + d[8:]),
     "goes on after"),
    (IMAGES, lambda d: (d[:4] + bytes([0, 0, 0, 19]) + d[8:])[:16 + 19 * 20],
     "19 pictures, but 20 labels in t10k-labels"),
    (LABELS, lambda d: d[:-1] + b"\7",
     "label 7 of picture 19; .*train end at 2"),
])
def test_damage_is_one_line(folder, name, damage, words):
  path = folder / name
  path.write_bytes(damage(path.read_bytes()))
  message = refusal(folder)
  assert str(path) in message
  assert re.search(words, message), message


def test_what_is_missing_is_named(folder, tmp_path_factory):
  (folder / IMAGES).unlink()
  assert "the images of test are missing" in refusal(folder)
  empty = tmp_path_factory.mktemp("empty")
  assert "no IDX files; expected train-images-idx3-ubyte" in refusal(empty)
  (empty / "emnist-letters-train-images-idx3-ubyte.gz").write_bytes(b"")
  assert "EMNIST, which are transposed, are not read" in refusal(empty)
  assert "no such file" in refusal(empty / "x").lower()


def test_a_plain_folder_of_them_tells_the_name(folder):
  with pytest.raises(DataError, match=f"IDX files; write idx:{folder}"):
    make_source(str(folder), split="train")


def test_an_announced_gigabyte_takes_no_memory(folder, monkeypatch):
  bomb = bytes([0, 0, 8, 3]) + struct.pack(">3I", 60000, 4096, 5000)
  (folder / IMAGES).write_bytes(gzip.compress(bomb + bytes(1 << 20)))
  assert "numbers are announced" in refusal(folder)


def test_fashion_mnist_is_known_by_its_labels(monkeypatch, folder):
  import hashlib

  labels = idx_file.read_idx(
      str(folder / "train-labels-idx1-ubyte.gz"), 1)
  assert read(folder).class_names is None
  monkeypatch.setattr(
      idx, "FASHION_LABELS", hashlib.sha256(labels.tobytes()).hexdigest())
  monkeypatch.setattr(idx, "FASHION", ("a", "b", "c"))
  assert read(folder).class_names == ("a", "b", "c")


DEBIAN = "/usr/share/datasets/fashion-mnist"


def test_debians_fashion_mnist():
  try:
    source = make_source(f"idx:{DEBIAN}", split="all")
  except DataError:
    pytest.skip("dataset-fashion-mnist is not installed (apt-get install it)")
  assert len(source) == 70_000 and source.num_classes == 10
  assert source.class_names[9] == "Ankle boot"
  # The first picture is an ankle boot; means as its own documents have them.
  assert source[0]["label"] == 9
  everything = idx.read_images(idx.find_files(DEBIAN)["train"], 60_000)
  assert everything.mean() / 255 == pytest.approx(0.2860, abs=1e-4)
  assert everything.std() / 255 == pytest.approx(0.3530, abs=1e-4)

"""MNIST and Fashion-MNIST become what TFDS would have made of their files."""

import gzip
import hashlib
import pathlib
import struct

from array_record.python import array_record_module
import numpy as np
import pytest

from vit_jax.data.decode import decode
from vit_jax.data.prepare.run import prepare
from vit_jax.data.sources import idx, make_source
from vit_jax.errors import DataError, UsageError

COUNTS = {"train": 30, "t10k": 20}


def write(folder):
  """Pictures whose pixels tell their number; their label is its last digit."""
  folder.mkdir(parents=True, exist_ok=True)
  start = 0
  for name, count in COUNTS.items():
    numbers = np.arange(start, start + count, dtype=np.uint8)
    start += count
    images = np.repeat(numbers, 28 * 28).reshape(-1, 28, 28)
    images[:, 3, 9] = 255
    for kind, array in (
        ("images-idx3", images), ("labels-idx1", numbers % 10)):
      data = (bytes([0, 0, 8, array.ndim])
              + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())
      zipped = gzip.compress(data) if name == "train" else data
      end = ".gz" if name == "train" else ""
      (folder / f"{name}-{kind}-ubyte{end}").write_bytes(zipped)


@pytest.fixture
def fashion(monkeypatch):
  """Makes the labels above those of Fashion-MNIST."""
  labels = (np.arange(30, dtype=np.uint8) % 10).tobytes()
  monkeypatch.setattr(
      idx, "FASHION_LABELS", hashlib.sha256(labels).hexdigest())


def made(tmp_path, name):
  return prepare(name, manual_dir=str(tmp_path / "archives"),
                 data_dir=str(tmp_path / "data"), partial=True)


def check(tmp_path, name, class_names):
  for split, numbers in (("train", range(30)), ("test", range(30, 50))):
    source = make_source(
        f"tfds:{name}", split=split, data_dir=str(tmp_path / "data"))
    assert source.class_names == class_names
    seen = set()
    for i in range(len(source)):
      image = decode(source[i]["image"])
      assert image.shape == (28, 28, 3) and image[3, 9].tolist() == [255] * 3
      number = int(image[0, 0, 0])
      assert source[i]["label"] == number % 10
      seen.add(number)
    assert seen == set(numbers)


def test_mnist(tmp_path):
  write(tmp_path / "archives")
  report, = made(tmp_path, "mnist")
  assert report.splits == {"train": 30, "test": 20}
  check(tmp_path, "mnist", None)  # Their names are their numbers.
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(report.folder)
  assert builder.info.features["image"].shape == (None, None, 1)


def test_fashion_in_a_folder_of_its_name(tmp_path, fashion):
  write(tmp_path / "archives/fashion_mnist")
  made(tmp_path, "fashion_mnist")
  check(tmp_path, "fashion_mnist", idx.FASHION)


def test_one_is_not_taken_for_the_other(tmp_path, monkeypatch, fashion):
  write(tmp_path / "archives")
  with pytest.raises(DataError, match="these are the labels of Fashion-MNIST"):
    made(tmp_path, "mnist")
  monkeypatch.undo()
  with pytest.raises(DataError, match="are not the labels of Fashion-MNIST"):
    made(tmp_path, "fashion_mnist")


def test_what_is_missing_or_wrong(tmp_path):
  with pytest.raises(DataError, match=r"mnist/train-images-idx3-ubyte\.gz: no "
                     r"such file.*--download \(https://storage.google"):
    made(tmp_path, "mnist")
  write(tmp_path / "archives")
  with pytest.raises(DataError, match="30 images? .*60,000|of 60,000"):
    prepare("mnist", manual_dir=str(tmp_path / "archives"),
            data_dir=str(tmp_path / "d"))
  with pytest.raises(UsageError, match="28x28; leave it out"):
    prepare("mnist", data_dir=str(tmp_path / "d"), short_side=20)
  path = tmp_path / "archives/t10k-images-idx3-ubyte"
  path.write_bytes(path.read_bytes()[:-9])
  with pytest.raises(DataError, match="truncated"):
    made(tmp_path, "mnist")


def test_downloads_are_checked():
  from vit_jax.data.prepare import mnist
  from vit_jax.data.prepare.checksums import checksum

  for _, base in mnist._PLACES.values():
    for prefix in ("train", "t10k"):
      for kind in ("images-idx3", "labels-idx1"):
        assert checksum(f"{base}/{prefix}-{kind}-ubyte.gz")


@pytest.mark.slow
def test_debians_fashion_mnist(tmp_path):
  folder = pathlib.Path("/usr/share/datasets/fashion-mnist")
  if not folder.exists():
    pytest.skip("dataset-fashion-mnist is not installed (apt-get install it)")
  report, = prepare("fashion_mnist", manual_dir=str(folder),
                    data_dir=str(tmp_path))
  assert report.splits == {"train": 60_000, "test": 10_000}


def test_the_same_files_give_the_same_bytes(tmp_path):
  write(tmp_path / "archives")
  made(tmp_path, "mnist")
  (path,) = (tmp_path / "data").glob("mnist/*/mnist-train.array_record*")
  records = array_record_module.ArrayRecordReader(str(path)).read_all()
  for record in records:
    places = [record.index(bytes([10, len(name)]) + name)
              for name in (b"id", b"image", b"label")]
    assert places == sorted(places)

"""A folder of IDX files as a source: "idx:/usr/share/datasets/fashion-mnist".

MNIST, Fashion-MNIST, KMNIST and others of their layout: train-images-idx3-ubyte
and train-labels-idx1-ubyte, t10k- for the test split, with or without .gz. The
files of a split are read into memory once (47 MB for 60,000 pictures of 28x28);
grey levels become RGB. A folder holds no names of its classes: those of
Fashion-MNIST are known by its labels, others are their numbers.
"""

from collections.abc import Mapping
import functools
import hashlib
import posixpath
import re
from typing import NamedTuple

from jaxtyping import Int, UInt8
import numpy as np

from vit_jax.data.sources import sample, storage
from vit_jax.data.sources.idx_file import read_idx
from vit_jax.data.sources.source import Example, Source
from vit_jax.errors import DataError

FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal",
           "Shirt", "Sneaker", "Bag", "Ankle boot")
# SHA-256 of the training labels, one byte each.
FASHION_LABELS = (
    "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7")
_FILE = re.compile(
    r"(?P<split>train|t10k|test)-(?P<kind>images|labels)[.-]idx[13]-ubyte"
    r"(?P<zipped>\.gz)?")
_SPLITS = {"train": "train", "t10k": "test", "test": "test"}
_EXPECTED = ("train-images-idx3-ubyte, train-labels-idx1-ubyte, "
             "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, with or "
             "without .gz")


def open_idx(source: str, split: str, data_dir: str = "") -> Source:
  """Opens a part of a folder of IDX files.

  Args:
    source: "idx:FOLDER".
    split: such as "train", "test" or "train[:90%]" (see sample.py), or "all".
    data_dir: that a relative folder is relative to.

  Raises:
    UsageError: no such split.
    DataError: files are missing, damaged or do not belong together.
  """
  files = find_files(
      storage.resolve(source.removeprefix("idx:"), data_dir))
  labels = {name: read_labels(file) for name, file in files.items()}
  members: dict[str, Int[np.ndarray, " _"]] = {}
  names: list[str] = []
  for name, values in labels.items():
    members[name] = np.arange(len(names), len(names) + len(values))
    names += [f"{name} {i}" for i in range(len(values))]
  together = np.concatenate(list(labels.values())).astype(np.int64)
  chosen = sample.select(split, members, names, together)
  for name, numbers in members.items():
    if np.isin(numbers, chosen).any():
      read_images(files[name], len(numbers))
  class_names = FASHION if is_fashion(labels) else None
  classes = _count_classes(files, labels)
  digest = hashlib.sha256(together.tobytes()).hexdigest()
  return Source(
      name=f"{source}, {split}", class_names=class_names, num_classes=classes,
      indices=chosen, origin=f"idx {digest}",
      labels=together[chosen].astype(np.int32),
      read=functools.partial(_read, [
          (name, file.images, storage.stamp(file.images), labels[name])
          for name, file in files.items()]))


def split_sizes(source: str, data_dir: str = "") -> dict[str, int]:
  """Returns the number of pictures of each split."""
  files = find_files(storage.resolve(source.removeprefix("idx:"), data_dir))
  return {name: len(read_labels(file)) for name, file in files.items()}


class Files(NamedTuple):
  """The files of one split."""

  images: str
  labels: str


def find_files(folder: str) -> dict[str, Files]:
  """Returns the files of each split in a folder, train first.

  Raises:
    DataError: there are none, or one of a pair is missing.
  """
  found: dict[str, dict[str, str]] = {}
  names = [entry.name for entry in storage.entries(folder)]
  for name in names:
    match = _FILE.fullmatch(name)
    if match:
      kinds = found.setdefault(_SPLITS[match["split"]], {})
      # Where both are there, the one that need not be unzipped.
      if match["kind"] not in kinds or not match["zipped"]:
        kinds[match["kind"]] = posixpath.join(folder, name)
  where = storage.printable(folder)
  if not found:
    emnist = any(name.startswith("emnist-") for name in names)
    raise DataError(
        f"{where}: no IDX files; expected {_EXPECTED}" + (
            "; those of EMNIST, which are transposed, are not read" if emnist
            else ""))
  for split, kinds in found.items():
    missing = {"images", "labels"} - kinds.keys()
    if missing:
      raise DataError(f"{where}: the {missing.pop()} of {split} are missing; "
                      f"expected {_EXPECTED}")
  return {split: Files(**found[split]) for split in ("train", "test")
          if split in found}


def is_fashion(labels: Mapping[str, UInt8[np.ndarray, " _"]]) -> bool:
  """Returns whether the labels of splits are those of Fashion-MNIST."""
  return "train" in labels and hashlib.sha256(
      labels["train"].tobytes()).hexdigest() == FASHION_LABELS


def read_labels(files: Files) -> UInt8[np.ndarray, " n"]:
  """Returns the labels of a split.

  Raises:
    DataError: see `read_idx`.
  """
  return _cached(files.labels, storage.stamp(files.labels), 1)


def read_images(files: Files, count: int) -> UInt8[np.ndarray, "n h w"]:
  """Returns the grey pictures of a split.

  Args:
    files: of the split.
    count: number of its labels.

  Raises:
    DataError: there are more or fewer, and see `read_idx`.
  """
  images = _cached(files.images, storage.stamp(files.images), 3)
  if len(images) != count:
    raise DataError(
        f"{storage.printable(files.images)}: {len(images):,} pictures, but "
        f"{count:,} labels in {posixpath.basename(files.labels)}")
  return images


@functools.lru_cache(maxsize=8)
def _cached(
    path: str, stamp: storage.Stamp, dimensions: int
) -> UInt8[np.ndarray, "..."]:
  """Reads a file unless it has been read and is the same since."""
  del stamp
  return read_idx(path, dimensions)


def _count_classes(
    files: Mapping[str, Files], labels: Mapping[str, UInt8[np.ndarray, " _"]]
) -> int:
  """Returns the number of classes, those of the training pictures.

  Raises:
    DataError: another split has a label that they lack.
  """
  first = next(iter(labels))
  count = int(labels[first].max()) + 1
  for name, values in labels.items():
    if values.max() >= count:
      raise DataError(
          f"{storage.printable(files[name].labels)}: label {values.max()} of "
          f"picture {int(values.argmax())}; those of {first} end at "
          f"{count - 1}")
  return count


def _read(
    splits: list[tuple[str, str, storage.Stamp, UInt8[np.ndarray, " _"]]],
    index: int,
) -> Example:
  """Returns a picture by its number among those of all splits."""
  for name, path, stamp, labels in splits:
    if index < len(labels):
      grey = _cached(path, stamp, 3)[index]
      return {"image": np.repeat(grey[..., None], 3, axis=-1),
              "label": int(labels[index]), "id": f"{name} {index}", "file": ""}
    index -= len(labels)
  raise IndexError(index)

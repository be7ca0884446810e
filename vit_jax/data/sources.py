"""Where pictures come from: digits, a folder, or a prepared TFDS data set.

A source is a sequence of examples that can be read in any order; it knows
nothing of epochs, batches or processes (see loader.py).
"""

from collections.abc import Callable
import dataclasses
import functools
import hashlib
import json
import os
from typing import TypedDict

from jaxtyping import Int, UInt8
import numpy as np

from vit_jax.data import digits, folder, splits, tfds_source, vtab
from vit_jax.errors import DataError, UsageError, suggest


class Example(TypedDict):
  """One undecoded picture; see decode.decode."""

  image: bytes | UInt8[np.ndarray, "h w c"]
  label: int
  id: str  # For people: the file, or the place in the data set.
  file: str  # Name that the file was published with; "" where unknown.


@dataclasses.dataclass(frozen=True)
class Source:
  """A split of a data set.

  Attributes:
    name: what was asked for, such as "tfds:cifar10, train[:98%]".
    class_names: one name per label, or None where the data set has none.
    num_classes: labels are 0..num_classes - 1.
    read: example number within the data set -> Example.
    indices: the example numbers that belong to the split, in order.
    origin: tells data sets apart, the same wherever the files lie.
  """

  name: str
  class_names: tuple[str, ...] | None
  num_classes: int
  read: Callable[[int], Example]
  indices: Int[np.ndarray, " n"]
  origin: str

  def __len__(self) -> int:
    return len(self.indices)

  def __getitem__(self, index: int) -> Example:
    return self.read(int(self.indices[index]))


def make_source(source: str, *, split: str, data_dir: str = "") -> Source:
  """Opens one split of a data set.

  Args:
    source: "digits" (the embedded 8x8 digits: train, val, test); a folder of
      pictures, relative to data_dir where given (see folder.scan);
      "tfds:NAME", a data set that TFDS has prepared as array_record, where
      NAME may carry a config and version ("tfds:imagenet_v2/topimages:3.1.0");
      or "vtab:TASK", a task of VTAB made of such a data set (see vtab.py).
    split: such as "train", "train[:98%]", "train+val" (see splits.py); for
      VTAB one of vtab.SPLITS.
    data_dir: where folders and prepared data sets lie. For TFDS the default
      is its own, ~/tensorflow_datasets or $TFDS_DATA_DIR.

  Raises:
    UsageError: unknown source or split.
    DataError: the data are missing, empty or inconsistent.
  """
  if source == "digits":
    return _digits(split)
  if source.startswith("tfds:"):
    data = tfds_source.open_prepared(source.removeprefix("tfds:"), data_dir)
    return _prepared(source, split, split, data)
  if source.startswith("vtab:"):
    data, parts = vtab.open_task(source.removeprefix("vtab:"), split, data_dir)
    return _prepared(source, split, parts, data)
  path = os.path.join(os.path.expanduser(data_dir), os.path.expanduser(source))
  if source and os.path.isdir(path):
    return _folder(path, split)
  raise UsageError(
      f"data source {source!r} is not known, and there is no folder {path!r}; "
      "expected digits, tfds:NAME, vtab:TASK or the path of a folder of "
      "pictures"
      f"{suggest(source, ['digits'])}")


def fingerprint(source: Source) -> str:
  """Returns 16 hex digits that change when the data set or split does.

  Made of names, counts and classes and not of pixels: it is quick, and does
  not change when the files move.
  """
  facts = [source.origin, len(source), source.num_classes,
           source.class_names,
           hashlib.sha256(source.indices.astype("<i8").tobytes()).hexdigest()]
  return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _digits(split: str) -> Source:
  members = digits.split_indices()
  parts = splits.resolve_split(
      split, {name: len(indices) for name, indices in members.items()})
  return Source(
      name=f"digits, {split}", class_names=digits.CLASS_NAMES, num_classes=10,
      read=_read_digit, origin="digits",
      indices=np.concatenate([members[name][part] for name, part in parts]))


def _read_digit(index: int) -> Example:
  images, labels = digits.arrays()
  return {"image": images[index], "label": int(labels[index]),
          "id": f"digits {index}", "file": ""}


def _folder(path: str, split: str) -> Source:
  path = os.path.abspath(path)
  files, class_names = folder.scan(path, splits.split_names(split))
  parts = splits.resolve_split(
      split, {name: len(members) for name, members in files.items()})
  return files_source(
      path, [files[name][index] for name, part in parts for index in part],
      name=f"{path}, {split}", class_names=class_names,
      num_classes=len(class_names))


def files_source(
    root: str, files: list[tuple[str, int]], *, name: str,
    class_names: tuple[str, ...] | None, num_classes: int) -> Source:
  """Returns picture files with their labels as a source.

  Args:
    root: a folder.
    files: (path below root, label) of each.
    name, class_names, num_classes: see Source.
  """
  listing = hashlib.sha256(json.dumps(files).encode()).hexdigest()
  return Source(
      name=name, class_names=class_names, num_classes=num_classes,
      read=functools.partial(
          _read_file, root, [path for path, _ in files],
          np.array([label for _, label in files], np.int32)),
      indices=np.arange(len(files)), origin=f"folder {listing}")


def _read_file(
    root: str, paths: list[str], labels: Int[np.ndarray, " n"], index: int,
) -> Example:
  path = os.path.join(root, paths[index])
  try:
    with open(path, "rb") as file:
      data = file.read()
  except OSError as error:
    raise DataError(f"{path}: cannot be read: {error.strerror}") from error
  return {"image": data, "label": int(labels[index]), "id": path,
          "file": os.path.basename(path)}


def _prepared(
    source: str, split: str, parts_text: str, data: tfds_source.Prepared,
) -> Source:
  """Returns the part of a prepared data set that `parts_text` names."""
  parts = splits.resolve_split(parts_text, data.sizes)
  # Example i of a split is number first[split] + i of the whole data set.
  starts = np.cumsum([0, *data.sizes.values()])
  first = {name: int(start)
           for name, start in zip(data.sizes, starts, strict=False)}
  readers = {first[name]: (name, data.reader(name))
             for name in dict(parts)}
  return Source(
      name=f"{source}, {split}", class_names=data.class_names,
      num_classes=data.num_classes,
      read=functools.partial(_read_tfds, source, readers),
      indices=np.concatenate(
          [first[name] + np.array(part, np.int64) for name, part in parts]),
      origin=f"tfds {data.full_name}")


def _read_tfds(
    source: str, readers: dict[int, tuple[str, tfds_source.Reader]],
    index: int) -> Example:
  start = max(first for first in readers if first <= index)
  split, read = readers[start]
  image, label, file = read(index - start)
  return {"image": image, "label": label,
          "id": f"{source} {split} {index - start}", "file": file}

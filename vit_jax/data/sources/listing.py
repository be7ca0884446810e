"""The images of a folder, with their classes and splits."""

from collections import Counter
from collections.abc import Iterable, Sequence
import dataclasses

from vit_jax.data.sources import sample, storage
from vit_jax.data.sources.messages import shorten, warn_once
from vit_jax.errors import DataError

SPLITS = ("train", "val", "eval", "test")

Files = dict[str, list[tuple[str, int]]]  # split -> (path below root, label)


@dataclasses.dataclass(frozen=True)
class Listing:
  """The images of a folder.

  Attributes:
    root: what their paths are relative to: the folder, or one inside of it.
    files: the images of each split, by label and path.
    class_names: one per label.
    by_hash: whether the folder has no splits, so that a hash makes them.
  """

  root: str
  files: Files
  class_names: tuple[str, ...]
  by_hash: bool


def class_order(names: Iterable[str]) -> list[str]:
  """Returns class names in the order of their labels.

  Sorted as text; as numbers where all of them are numbers: 0, 1, 2, ..., 10
  (not 0, 1, 10, 2), so that class 7 of ten is label 7.
  """
  names = sorted(set(names))
  if all(name.isascii() and name.isdecimal() for name in names):
    names.sort(key=int)
  return names


def hash_splits(members: Sequence[tuple[str, int]]) -> Files:
  """Returns the splits that a hash makes of a data set without any."""
  files: Files = {"train": [], "val": [], "test": []}
  for path, label in members:
    files[sample.split_of(path)].append((path, label))
  return files


def check_train(listing: Listing) -> None:
  """Raises DataError if a class has no image to learn it from."""
  root, names = storage.printable(listing.root), listing.class_names
  train = listing.files.get("train")
  if train is None:
    return  # An unknown split, which is refused as such.
  if not train:
    raise DataError(f"{root}: train holds no image; expected CLASS/* in it")
  counts = Counter(label for _, label in train)
  empty = {label for label in range(len(names)) if not counts[label]}
  rare = empty & {label for members in listing.files.values()
                  for _, label in members}
  if rare:
    raise DataError(
        f"{root}: too few images in class {_named(names, rare)}: the split by "
        "hash leaves none for train; add images or make folders train, val "
        "and test")
  if empty:
    raise DataError(f"{root}: class {_named(names, empty)} has no image in "
                    "train; remove the folder or fill it")


def _named(names: Sequence[str], labels: Iterable[int]) -> str:
  return shorten([names[label] for label in sorted(labels)])


def warn_of_one_class(root: str, names: Sequence[str]) -> None:
  """Logs a warning for a data set whose images all have one label."""
  if len(names) == 1:
    warn_once(f"{storage.printable(root)}: one class only, {names[0]!r}, so "
              "that scores mean nothing; expected a folder for each class")

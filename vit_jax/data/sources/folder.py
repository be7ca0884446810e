"""A folder of images as a source: ROOT/{train,val,test}/CLASS/*, and others.

tree.py says what counts as an image, layout.py which folders are splits and
classes, and labels_file.py reads the labels from a file instead.
"""

from collections.abc import Collection, Sequence
import re

import numpy as np

from vit_jax.data import splits
from vit_jax.data.sources import labels_file, sample, storage
from vit_jax.data.sources.files import files_source
from vit_jax.data.sources.layout import BY_HASH, Groups, Layout, find_layout
from vit_jax.data.sources.listing import (
  Listing,
  check_train,
  class_order,
  hash_splits,
  warn_of_one_class,
)
from vit_jax.data.sources.messages import shorten, warn_once
from vit_jax.data.sources.source import Source
from vit_jax.data.sources.tree import Folder
from vit_jax.errors import DataError, suggest

_LEVELS = re.compile(r"(.+?)((?:/\*)+)/?")


def open_folder(path: str, split: str) -> Source:
  """Opens a part of a folder.

  Args:
    path: see `scan`.
    split: such as "train" or "train[:90%]" (see sample.py), or "all".

  Raises:
    DataError: the folder cannot be read as classes of images.
    UsageError: no such split.
  """
  listing = scan(path, splits.split_names(split))
  rows = [(part, *pair) for part, members in listing.files.items()
          for pair in members]
  if listing.by_hash:
    rows.sort(key=lambda row: (row[2], row[1]))
  parts = np.array([part for part, _, _ in rows])
  labels = np.array([label for _, _, label in rows], np.int64)
  try:
    chosen = sample.select(
        split, {part: np.flatnonzero(parts == part) for part in listing.files},
        [name for _, name, _ in rows], labels)
  except DataError as error:
    raise DataError(f"{storage.printable(path)}: {error}" + (
        "; there are no folders of splits, and a hash leaves it none: add "
        "images, make folders train, val and test, or use the split all"
    ) * listing.by_hash) from None
  return files_source(
      listing.root, [rows[i][1:] for i in chosen.tolist()],
      name=f"{storage.printable(path)}, {split}",
      class_names=listing.class_names, num_classes=len(listing.class_names))


def count_without_splits(path: str) -> int:
  """Returns the number of images of a folder that has no splits, else 0."""
  listing = scan(path, ())
  return sum(map(len, listing.files.values())) if listing.by_hash else 0


def split_sizes(path: str) -> dict[str, int]:
  """Returns the number of images of each split, "all" where it has none."""
  listing = scan(path)
  sizes = {name: len(members) for name, members in listing.files.items()}
  return {sample.ALL: sum(sizes.values())} if listing.by_hash else sizes


def is_folder(path: str) -> bool:
  """Returns whether `scan` can be called with a path."""
  match = _LEVELS.fullmatch(path)
  return (storage.is_folder(match[1] if match else path)
          or labels_file.is_table(path) and storage.is_file(path))


def scan(path: str, wanted: Collection[str] = (sample.ALL,)) -> Listing:
  """Finds the images of each split, and the classes.

  Args:
    path: a folder; or ROOT/*, ROOT/*/*, ... where the class folders are that
      many levels down; or a file with labels. Local or a URL.
    wanted: splits to list, "all" for every one; others may come back empty,
      because their folders are not searched (train may be large).

  Raises:
    DataError: the folder cannot be read as classes of images.
  """
  path = storage.resolve(path)
  match = _LEVELS.fullmatch(path)
  depth = match[2].count("*") if match else 0
  if labels_file.is_table(path):
    folder, _, name = path.rpartition("/")
    listing = labels_file.read(
        [labels_file.Table(Folder(folder), name)], strict=False)
  else:
    root = Folder(match[1] if match else path)
    tables = [] if depth else labels_file.find(root)
    listing = (labels_file.read(tables) if tables
               else _listing(find_layout(root, depth, wanted), wanted))
  if {"train", sample.ALL} & set(wanted) == {"train"}:
    check_train(listing)
  warn_of_one_class(path, listing.class_names)
  return listing


def _listing(layout: Layout, wanted: Collection[str]) -> Listing:
  """Returns the images of the folders that a layout consists of."""
  root, groups = layout.root, layout.groups
  _check_same_folders(root, groups)
  classes = groups.get("train") or {
      name: folders for split in groups.values()
      for name, folders in split.items()}
  names = class_order(classes)
  for split, group in groups.items():
    _check_classes(root, split, group, names)
  by_hash = BY_HASH in groups
  skip = set() if by_hash or sample.ALL in wanted else set(groups) - set(wanted)
  files = {split: _images(root, {} if split in skip else group, names)
           for split, group in groups.items()}
  if by_hash:
    files = hash_splits(files[BY_HASH])
    _warn_of_splits_beside(root)
  root.notes.warn(storage.printable(root.path))
  return Listing(root.path, files, tuple(names), by_hash)


def _images(
    root: Folder, classes: dict[str, list[Folder]], names: Sequence[str]
) -> list[tuple[str, int]]:
  """Returns the paths below the root and the labels of all images."""
  start = len(root.below) + 1 if root.below else 0
  return [(path[start:], label) for label, name in enumerate(names)
          for path in sorted(path for folder in classes.get(name, ())
                             for path in folder.all_images())]


def _check_classes(
    root: Folder, split: str, group: dict[str, list[Folder]],
    names: Sequence[str]) -> None:
  """Raises DataError if a split has a class that train lacks."""
  extra = [name for name, folders in group.items()
           if name not in names and any(f.holds_images for f in folders)]
  if extra:
    folder = storage.printable(group[extra[0]][0].path.rpartition("/")[0])
    raise DataError(
        f"{folder}: class {shorten(extra)} is missing in train; the classes "
        f"are those of train: {shorten(names)}{suggest(extra[0], names)}")


def _check_same_folders(root: Folder, groups: Groups) -> None:
  """Raises DataError if links make one folder two classes of a split."""
  for classes in groups.values():
    names: dict[tuple[int, int], str] = {}
    for name, folders in classes.items():
      for folder in folders:
        if folder.identity and names.setdefault(folder.identity, name) != name:
          raise DataError(
              f"{storage.printable(root.path)}: {names[folder.identity]} and "
              f"{name} are one folder (a link), but would be two classes; "
              "remove one")


def _warn_of_splits_beside(root: Folder) -> None:
  """Logs a warning if the folder is itself a split among others."""
  folder = root.path.rpartition("/")[0]
  if root.below or storage.is_remote(root.path) or not any(
      splits.canonical_split(word) for word in re.split(r"[\W\d_]+",
                                                        root.shown)):
    return
  siblings = Folder(folder or "/").folders
  split_of = splits.splits_of(f.shown for f in siblings)
  beside = [
      f.shown for f in siblings
      if f.shown != root.shown and {f.shown, root.shown} <= set(split_of)
      and any(inner.images for inner in f.folders)]
  if beside:
    warn_once(
        f"{storage.printable(root.path)}: lies beside {shorten(beside)}, but "
        "is read alone, and split by a hash; to use these splits, name "
        f"{storage.printable(folder)}")

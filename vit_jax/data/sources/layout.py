"""Which folders are splits, which are classes, and which are neither.

docs/own-images-layouts.md lists the layouts. A folder that can be read in
two ways is refused, and the message shows both readings and how to choose.
"""

from collections.abc import Collection, Mapping, Sequence
import dataclasses

from vit_jax.data.sources import storage
from vit_jax.data.sources.class_folders import (
    check_loose,
    class_folders,
    listed,
)
from vit_jax.data.sources.listing import SPLITS
from vit_jax.data.sources.messages import counted, shorten, warn_once
from vit_jax.data.sources.sample import ALL
from vit_jax.data.sources.tree import Folder, no_images
from vit_jax.data.splits import canonical_split, splits_of
from vit_jax.errors import DataError

BY_HASH = ""  # The key of a layout without folders for splits.

# Split (or BY_HASH) -> class name -> the folders with its images.
Groups = dict[str, dict[str, list[Folder]]]


@dataclasses.dataclass(frozen=True)
class Layout:
  """How a folder is read.

  Attributes:
    root: the folder that holds the splits or the classes, possibly inside of
      the requested one.
    groups: the folders of each class of each split.
  """

  root: Folder
  groups: Groups


def find_layout(
    root: Folder, depth: int = 0, wanted: Collection[str] = (ALL,)) -> Layout:
  """Finds the folders of splits and classes.

  Args:
    root: the requested folder.
    depth: levels of class folders below `root` (or below its splits), as in
      ROOT/*/*; 0 to find out.
    wanted: splits that will be read; of others only the names are needed.

  Raises:
    DataError: no images, no classes, or two possible readings.
  """
  if not root.holds_images:
    raise DataError(
        f"{no_images(root)} in ROOT/train/CLASS/* or ROOT/CLASS/*")
  if not depth:
    top, root = root, _descend(root)
    if root is not top:
      warn_once(
          f"{storage.printable(top.path)}: reading "
          f"{storage.printable(root.path)}, the only folder inside that holds "
          "images")
  split_of = splits_of(f.shown for f in root.folders)
  named = [f if depth else _unwrap(f) for f in root.folders
           if f.shown in split_of]
  splits = [f for f in named if any(c.holds_images for c in f.folders)]
  unlabelled = [f for f in named if f not in splits and f.images]
  others = [f for f in root.folders
            if f.shown not in split_of and f.holds_images]
  if splits and not (depth and others):
    _check_splits(root, splits, unlabelled, others)
    check_loose(root)
    return Layout(root, {
        split: {} if folder in unlabelled else class_folders(
            folder, depth, root, bool({split, ALL} & set(wanted)))
        for split, folder in _split_folders(root, named, split_of).items()})
  if not depth:
    _check_splitlisted(root, unlabelled)
    inverted = _splits_of_classes(root)
    if inverted:
      return Layout(root, inverted)
  if not any(f.holds_images for f in root.folders):
    raise DataError(_no_classes(root))
  return Layout(root, {BY_HASH: class_folders(root, depth, root, True)})


def _descend(root: Folder) -> Folder:
  """Returns the folder further down that a person meant, or `root`.

  Archives unpack into a folder of their own, and people name the one above:
  ROOT/flowers/{rose,tulip} or ROOT/data/{train,test}/{rose,tulip}.
  """
  holding = [f for f in root.folders if f.holds_images]
  if (len(holding) != 1 or root.images or canonical_split(holding[0].shown)
      or any(f.is_empty for f in root.folders)):  # An empty class?
    return root
  child = holding[0]
  inner = [f for f in child.folders if f.holds_images]
  deeper = _descend(child)
  if deeper is child and len(inner) < 2 and not splits_of(
      f.shown for f in inner):
    return root  # One class, perhaps with one folder inside.
  return deeper


def _unwrap(folder: Folder) -> Folder:
  """Returns the folder inside of a split that an archive unpacked into it.

  ROOT/seg_train/seg_train/{sea,ice}: the same name twice, and nothing else.
  """
  same = [f for f in folder.folders if f.shown == folder.shown]
  # Asked last: it searches the folders.
  if same and not folder.images and same == [
      f for f in folder.folders if f.holds_images]:
    return _unwrap(same[0])
  return folder


def _check_splits(
    root: Folder, splits: Sequence[Folder], unlabelled: Sequence[Folder],
    others: Sequence[Folder]) -> None:
  """Raises DataError where the split is perhaps a class among others."""
  path = storage.printable(root.path)
  if others and len(splits) == 1 and not unlabelled:
    split, names = splits[0], [f.shown for f in [*splits, *others]]
    inner = [f.shown for f in split.folders if f.holds_images]
    raise DataError(
        f"{path}: is {split.shown} a split with the classes {listed(inner)}, "
        f"or are the classes {listed(sorted(names))}? For the first, move the "
        f"other folders out of {path}; for the second, name {path}/*")
  if others:
    warn_once(f"{path}: not splits, ignored: "
              f"{shorten([f.shown for f in others])}")
  for folder in unlabelled:
    warn_once(
        f"{storage.printable(folder.path)}: "
        f"{counted(len(folder.images), 'image')} without class folders, and so "
        f"without labels, ignored; expected {folder.shown}/CLASS/*")


def _split_folders(
    root: Folder, folders: Sequence[Folder], split_of: Mapping[str, str],
) -> dict[str, Folder]:
  """Returns split -> folder, in the order of SPLITS.

  Args:
    root: the folder with all of them.
    folders: of splits.
    split_of: their splits, by name.

  Raises:
    DataError: two folders are of one split.
  """
  found: dict[str, Folder] = {}
  for folder in folders:
    split = split_of[folder.shown]
    if split in found:
      raise DataError(
          f"{storage.printable(root.path)}: {found[split].shown} and "
          f"{folder.shown} are both names of the split {split}; rename or "
          "merge them")
    found[split] = folder
  return {split: found[split] for split in SPLITS if split in found}


def _check_splitlisted(root: Folder, unlabelled: Sequence[Folder]) -> None:
  """Raises DataError if folders of images are splits rather than classes.

  ROOT/{bus,car,train}/*: there, "train" is a class.
  """
  names = [f.shown for f in unlabelled]
  if not names or (
      [name.lower() for name in names] == ["train"]
      and sum(f.holds_images for f in root.folders) > 1):
    return
  path = storage.printable(root.path)
  question = (
      f"is {names[0]} a split, whose images lack labels, or a class"
      if len(names) == 1 else
      f"are {listed(names)} splits, whose images lack labels, or classes")
  raise DataError(
      f"{path}: {question}? For splits, expected {path}/{names[0]}/CLASS/* or "
      f"a file {path}/labels.csv with the columns file_name,label,split; for "
      f"classes, name {path}/*")


def _splits_of_classes(root: Folder) -> Groups:
  """Returns the groups of ROOT/CLASS/{train,test}/*, empty if it is not so."""
  groups: Groups = {split: {} for split in SPLITS}
  for folder in root.folders:
    inner = [f for f in folder.folders if f.holds_images]
    split_of = splits_of(f.shown for f in inner)
    if folder.images or not inner or len(split_of) < len(inner):
      return {}
    for split, part in _split_folders(folder, inner, split_of).items():
      groups[split].setdefault(folder.name, []).append(part)
  return {split: classes for split, classes in groups.items() if classes}


def _no_classes(root: Folder) -> str:
  """Says what to do with a folder of images without classes."""
  path = storage.printable(root.path)
  text = (f"{path}: {counted(len(root.images), 'image')}, but no class folders "
          f"and so no labels; expected {path}/CLASS/*, or a file "
          f"{path}/labels.csv with the columns file_name,label")
  if storage.is_remote(root.path):
    return text
  above = Folder(root.path.rpartition("/")[0] or "/")
  siblings = [f.shown for f in above.folders if f.images]
  if len(siblings) < 2:
    return text
  return (f"{text} (did you mean {storage.printable(above.path)}, with the "
          f"folders {listed(siblings)}?)")

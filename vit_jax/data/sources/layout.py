"""Which folders are splits, which are classes, and which are neither.

docs/own-images-layouts.md lists the layouts. A folder that can be read in
two ways is refused, and the message shows both readings and how to choose.
"""

from collections.abc import Collection, Sequence
import dataclasses

from vit_jax.data.sources import storage
from vit_jax.data.sources.listing import SPLITS
from vit_jax.data.sources.messages import counted, shorten, warn_once
from vit_jax.data.sources.sample import ALL
from vit_jax.data.sources.tree import Folder, no_images
from vit_jax.data.splits import canonical_split
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
  named = [f for f in root.folders if canonical_split(f.shown)]
  splits = [f for f in named if any(c.holds_images for c in f.folders)]
  unlabelled = [f for f in named if f not in splits and f.images]
  others = [f for f in root.folders if f not in named and f.holds_images]
  if splits and not (depth and others):
    _check_splits(root, splits, unlabelled, others)
    _check_loose(root)
    return Layout(root, {
        split: {} if folder in unlabelled else _classes(
            folder, depth, root, bool({split, ALL} & set(wanted)))
        for split, folder in _split_folders(root, named).items()})
  if not depth:
    _check_split_named(root, unlabelled)
    inverted = _splits_of_classes(root)
    if inverted:
      return Layout(root, inverted)
  if not any(f.holds_images for f in root.folders):
    raise DataError(_no_classes(root))
  return Layout(root, {BY_HASH: _classes(root, depth, root, True)})


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
  if deeper is child and len(inner) < 2 and not any(
      canonical_split(f.shown) for f in inner):
    return root  # One class, perhaps with one folder inside.
  return deeper


def _classes(
    parent: Folder, depth: int, root: Folder, check: bool,
) -> dict[str, list[Folder]]:
  """Returns the class folders at a depth below `parent`; 0 finds out.

  Folders of one name, also if one is composed and one decomposed in Unicode,
  are one class.

  Raises:
    DataError: classes nested in these folders may be meant as well.
  """
  level = [parent]
  for _ in range(depth or 1):
    for folder in level:
      _check_loose(folder)
    level = [child for folder in level for child in folder.folders]
  if not depth and check:  # Which lists all of these folders.
    _check_nested(root, level)
  classes: dict[str, list[Folder]] = {}
  for folder in level:
    classes.setdefault(folder.name, []).append(folder)
  if not depth:
    for name, folders in classes.items():
      if len(folders) > 1:
        warn_once(f"{storage.printable(parent.path)}: {len(folders)} folders "
                  f"are called {name!r} and are one class")
  return classes


def _check_nested(root: Folder, classes: Sequence[Folder]) -> None:
  """Raises DataError if the classes may lie one level further down.

  They may where no image lies directly in a class folder, and one of them
  has several folders: ROOT/animals/{cat,dog} and ROOT/plants/rose.
  """
  nested = {
      folder.shown: [f.shown for f in folder.folders if f.holds_images]
      for folder in classes if not folder.images}
  several = [name for name, inner in nested.items() if len(inner) > 1]
  if not several:
    return
  path = storage.printable(root.path)
  if len(nested) < len(classes):
    warn_once(f"{path}: all folders inside of {_named(several)} are read as "
              "one class each")
    return
  inner = sorted({name for names in nested.values() for name in names})
  raise DataError(
      f"{path}: are the classes {_named(sorted(nested))}, or the folders "
      f"inside of them, {_named(inner)}? For the first name {path}/*, for the "
      f"second {path}/*/*")


def _check_splits(
    root: Folder, splits: Sequence[Folder], unlabelled: Sequence[Folder],
    others: Sequence[Folder]) -> None:
  """Raises DataError where the split is perhaps a class among others."""
  path = storage.printable(root.path)
  if others and len(splits) == 1 and not unlabelled:
    split, names = splits[0], [f.shown for f in [*splits, *others]]
    inner = [f.shown for f in split.folders if f.holds_images]
    raise DataError(
        f"{path}: is {split.shown} a split with the classes {_named(inner)}, "
        f"or are the classes {_named(sorted(names))}? For the first, move the "
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
    root: Folder, folders: Sequence[Folder]) -> dict[str, Folder]:
  """Returns split -> folder, in the order of SPLITS.

  Raises:
    DataError: two folders are of one split.
  """
  found: dict[str, Folder] = {}
  for folder in folders:
    split = canonical_split(folder.shown) or ""
    if split in found:
      raise DataError(
          f"{storage.printable(root.path)}: {found[split].shown} and "
          f"{folder.shown} are both names of the split {split}; rename or "
          "merge them")
    found[split] = folder
  return {split: found[split] for split in SPLITS if split in found}


def _check_split_named(root: Folder, unlabelled: Sequence[Folder]) -> None:
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
      f"are {_named(names)} splits, whose images lack labels, or classes")
  raise DataError(
      f"{path}: {question}? For splits, expected {path}/{names[0]}/CLASS/* or "
      f"a file {path}/labels.csv with the columns file_name,label,split; for "
      f"classes, name {path}/*")


def _splits_of_classes(root: Folder) -> Groups:
  """Returns the groups of ROOT/CLASS/{train,test}/*, empty if it is not so."""
  groups: Groups = {split: {} for split in SPLITS}
  for folder in root.folders:
    inner = [f for f in folder.folders if f.holds_images]
    if folder.images or not inner or not all(
        canonical_split(f.shown) for f in inner):
      return {}
    for split, part in _split_folders(folder, inner).items():
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
          f"folders {_named(siblings)}?)")


def _check_loose(parent: Folder) -> None:
  """Warns of images beside folders; refuses if there are more than inside.

  Raises:
    DataError: most images lie beside the folders.
  """
  count = len(parent.images)
  inside = sum(len(f.all_images()) for f in parent.folders) if count else 0
  if not inside:
    return
  path = storage.printable(parent.path)
  folders = [f.shown for f in parent.folders if f.holds_images]
  if count > inside:
    raise DataError(
        f"{path}: is the data set the {counted(inside, 'image')} in the "
        f"folders {_named(folders)}, or the {count:,} beside them? For the "
        "first, move the others away; for the second, give them labels in "
        f"{path}/labels.csv with the columns file_name,label")
  names = [storage.printable(image.rpartition("/")[2])
           for image in parent.images]
  warn_once(
      f"{path}: {counted(count, 'image')} beside the folders {_named(folders)} "
      f"without label, ignored: {shorten(names, 3)}")


def _named(names: Sequence[str]) -> str:
  return shorten(names, 4)

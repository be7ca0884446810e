"""A folder of pictures, ROOT/{train,val,test}/CLASS/* or ROOT/CLASS/*."""

from collections import Counter
from collections.abc import Collection
import hashlib
import os
import unicodedata

from absl import logging

from vit_jax.data import splits
from vit_jax.data.sources.files import files_source
from vit_jax.data.sources.source import Source
from vit_jax.errors import DataError

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif",
    ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif")
SPLITS = ("train", "val", "valid", "validation", "test")

Files = dict[str, list[tuple[str, int]]]  # split -> (path below root, label)


def open_folder(path: str, split: str) -> Source:
  """Opens a part of a folder; see `scan`."""
  path = os.path.abspath(path)
  files, class_names = scan(path, splits.split_names(split))
  parts = splits.resolve_split(
      split, {name: len(members) for name, members in files.items()})
  return files_source(
      path, [files[name][index] for name, part in parts for index in part],
      name=f"{path}, {split}", class_names=class_names,
      num_classes=len(class_names))


def scan(
    root: str, wanted: Collection[str] = SPLITS,
) -> tuple[Files, tuple[str, ...]]:
  """Finds the pictures of each split and the class names, both sorted.

  Two layouts are known. With a folder ROOT/train, every split has its own
  folder and the classes are those of train. Without it, ROOT holds the classes
  and each picture goes to train (80 %), val (10 %) or test (10 %) by a hash of
  its path below ROOT: a picture stays in its split when others are added, and
  is in the same one on every machine.

  Pictures may lie in sub-folders of a class. Names that begin with a dot are
  ignored; other files are counted and said once.

  Args:
    root: the folder.
    wanted: splits to list; another split that has a folder of its own is not
      searched for pictures (train may be large) and comes back empty.

  Raises:
    DataError: no picture, a class of train without one, or a class in val or
      test that train lacks.
  """
  root = os.path.abspath(os.path.expanduser(root))
  folders = subfolders(root)
  if "train" in folders and not _holds_pictures(f"{root}/train"):
    return _scan_splits(root, folders, wanted)
  if folders and set(folders) <= set(SPLITS):
    raise DataError(
        f"{root}: has {', '.join(folders)} but no folder train with one "
        "sub-folder per class; the class names are read from there")
  return _scan_classes(root, folders)


def split_of(path: str) -> str:
  """Returns train, val or test for a picture's path below the root."""
  name = unicodedata.normalize("NFC", path.replace(os.sep, "/"))
  digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
  bucket = int.from_bytes(digest[:8], "big") % 100
  return "train" if bucket < 80 else "val" if bucket < 90 else "test"


def _scan_splits(
    root: str, folders: list[str], wanted: Collection[str],
) -> tuple[Files, tuple[str, ...]]:
  """Reads ROOT/{train,val,test}/CLASS/*."""
  others = [name for name in folders if name not in SPLITS]
  if others:
    logging.warning("%s: not a split, ignored: %s", root, ", ".join(others))
  classes = subfolders(f"{root}/train")
  files: Files = {}
  for split in [name for name in SPLITS if name in folders]:
    folder = f"{root}/{split}"
    if _holds_pictures(folder):
      logging.warning("%s: pictures outside of class folders, ignored; "
                      "expected %s/CLASS/*", folder, split)
    present = subfolders(folder)
    _check_classes(folder, present, classes)
    files[split] = [(path, label) for label, name in enumerate(classes)
                    if split in wanted and name in present
                    for path in pictures(root, f"{split}/{name}")]
  if "train" in wanted:
    _check_filled(root, files["train"], classes)
  return files, tuple(classes)


def _scan_classes(
    root: str, classes: list[str]) -> tuple[Files, tuple[str, ...]]:
  """Reads ROOT/CLASS/* and splits by hash."""
  files: Files = {"train": [], "val": [], "test": []}
  for label, name in enumerate(classes):
    for path in pictures(root, name):
      files[split_of(path)].append((path, label))
  if not any(files.values()):
    raise DataError(f"{root}: no picture found; expected ROOT/train/CLASS/* "
                    f"or ROOT/CLASS/* with {' '.join(SUFFIXES)}")
  missing = {label for split in ("val", "test") for _, label in files[split]}
  missing -= {label for _, label in files["train"]}
  if missing:
    names = ", ".join(classes[label] for label in sorted(missing))
    raise DataError(
        f"{root}: too few pictures in class {names}: the split by hash leaves "
        "none for train; add pictures or make folders train, val and test")
  _check_filled(root, files["train"], classes)
  return files, tuple(classes)


def _check_classes(
    folder: str, present: list[str], classes: list[str]) -> None:
  extra = [name for name in present if name not in classes]
  if extra:
    raise DataError(
        f"{folder}: class {', '.join(extra)} is missing in train; the classes "
        f"are those of train: {_shorten(classes)}")


def _check_filled(
    root: str, train: list[tuple[str, int]], classes: list[str]) -> None:
  """Raises if a class of train is empty: its label would never be learned."""
  if not train:
    raise DataError(f"{root}: train holds no picture; expected CLASS/* with "
                    f"{' '.join(SUFFIXES)}")
  counts = Counter(label for _, label in train)
  empty = [name for label, name in enumerate(classes) if not counts[label]]
  if empty:
    raise DataError(f"{root}: class {_shorten(empty)} has no picture in train; "
                    "remove the folder or fill it")


def pictures(root: str, folder: str) -> list[str]:
  """Returns the sorted paths below the root of all pictures in a folder."""
  paths: list[str] = []
  others: Counter[str] = Counter()
  for where, folders, names in os.walk(f"{root}/{folder}", followlinks=True):
    folders[:] = [name for name in folders if not name.startswith(".")]
    below = os.path.relpath(where, root).replace(os.sep, "/")
    for name in names:
      if _is_picture(name):
        paths.append(f"{below}/{name}")
      elif not name.startswith("."):
        others[os.path.splitext(name)[1].lower() or name] += 1
  if others:
    logging.warning(
        "%s/%s: not pictures, ignored: %s", root, folder,
        ", ".join(f"{count} {kind}" for kind, count in others.items()))
  return sorted(paths)


def _is_picture(name: str) -> bool:
  return not name.startswith(".") and name.lower().endswith(SUFFIXES)


def _holds_pictures(folder: str) -> bool:
  """Returns whether pictures lie directly in the folder."""
  with os.scandir(folder) as entries:
    return any(_is_picture(entry.name) and entry.is_file()
               for entry in entries)


def subfolders(folder: str) -> list[str]:
  """Returns the sorted names of the folders below; no hidden ones."""
  with os.scandir(folder) as entries:
    return sorted(entry.name for entry in entries
                  if entry.is_dir() and not entry.name.startswith("."))


def _shorten(names: list[str], most: int = 8) -> str:
  """Returns the names, or the first few and how many there are."""
  text = ", ".join(names[:most])
  return text if len(names) <= most else f"{text}, ... ({len(names)} in all)"

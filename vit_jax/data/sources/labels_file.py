"""Labels from a file beside the images: labels.csv, metadata.csv or .jsonl.

The convention is that of Hugging Face's imagefolder: a row for each image with
its `file_name`, relative to the folder of the file, and its `label`. A column
`split` is optional, and so is one file in each folder of a split
(ROOT/train/metadata.csv).

Nothing is guessed: every image is listed once, every listed file exists, and
what is wrong is an error that names the line.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
import dataclasses
import posixpath
import re
import unicodedata

from vit_jax.data.sources import storage
from vit_jax.data.sources.labels_rows import Row, has_labels, read_rows
from vit_jax.data.sources.listing import (
  SPLITS,
  Files,
  Listing,
  class_order,
  hash_splits,
)
from vit_jax.data.sources.messages import counted, shorten, warn_once
from vit_jax.data.sources.tree import Folder
from vit_jax.data.splits import splits_of
from vit_jax.errors import DataError, suggest

_NAMES = ("labels.csv", "labels.tsv", "labels.jsonl", "metadata.csv",
          "metadata.tsv", "metadata.jsonl")
_SUFFIXES = (".csv", ".tsv", ".jsonl")
_OUTSIDE = re.compile(r"/|\.\.(/|$)|[A-Za-z]:[\\/]")


@dataclasses.dataclass(frozen=True)
class Table:
  """A file with labels.

  Attributes:
    folder: that it lies in.
    name: of the file.
    split: of all its images, where it lies in a split's folder; else "".
  """

  folder: Folder
  name: str
  split: str = ""

  @property
  def path(self) -> str:
    """Returns its path."""
    return f"{self.folder.path}/{self.name}"

  def __str__(self) -> str:
    return storage.printable(self.path)


def is_table(path: str) -> bool:
  """Returns whether a path has the suffix of a file with labels."""
  return path.lower().endswith(_SUFFIXES)


def find(root: Folder) -> list[Table]:
  """Returns the files with labels of a data set, none if it has class folders.

  They lie in `root` or in the folders of its splits, or in the only folder
  inside that holds images.

  Raises:
    DataError: two files in a folder, or metadata without labels for images
      that have no class folders either.
  """
  tables = _in_folder(root)
  if not tables:
    split_of = splits_of(f.shown for f in root.folders)
    tables = [dataclasses.replace(table, split=split_of[folder.shown])
              for folder in root.folders if folder.shown in split_of
              for table in _in_folder(folder)]
  holding = [f for f in root.folders if f.holds_images] if not tables else []
  if len(holding) == 1 and not root.images:
    return find(holding[0])
  return tables


def _in_folder(folder: Folder) -> list[Table]:
  """Returns the file with labels in a folder, if there is one."""
  names = [name for name in folder.other_files if name.lower() in _NAMES]
  if len(names) > 1:
    raise DataError(
        f"{storage.printable(folder.path)}: {' and '.join(names)} may both "
        "have the labels; keep one of them")
  tables = [Table(folder, name) for name in names]
  # It may hold captions, or numbers of classes.
  if (names and any(f.holds_images for f in folder.folders)
      and not has_labels(tables[0].path)):
    warn_once(f"{tables[0]}: does not have the columns file_name and label, "
              "ignored: the folders are the classes")
    return []
  return tables


def read(tables: Sequence[Table], strict: bool = True) -> Listing:
  """Reads the labels of all images.

  Args:
    tables: one file, or one for each split.
    strict: whether an image that is not listed is an error.

  Raises:
    DataError: names the file, the line and what is wrong in it.
  """
  root = _common_root(tables)
  unlisted = [f.shown for f in root.folders if tables[0].split
              and f.path not in {table.folder.path for table in tables}
              and f.holds_images]
  if unlisted:
    warn_once(f"{storage.printable(root.path)}: no file of labels in "
              f"{shorten(unlisted)}, ignored")
  rows: list[tuple[Table, Row, str]] = []  # With the path below the root.
  for table in tables:
    rows += [(table, row, path) for row, path in _resolved(table, root)]
    if strict:
      _check_listed(table, root, {path for _, _, path in rows})
  by_hash = not any(row.split for _, row, _ in rows)
  for table, row, _ in rows:
    if not row.split and not by_hash:
      raise DataError(f"{table}, line {row.line}: split is empty, but other "
                      "lines have one")
  train = {row.label for _, row, _ in rows if by_hash or row.split == "train"}
  names = class_order(train or {row.label for _, row, _ in rows})
  labels = {name: label for label, name in enumerate(names)}
  for table, row, _ in rows:
    if row.label not in labels:
      raise DataError(
          f"{table}, line {row.line}: label {row.label!r} of the split "
          f"{row.split} is missing in train; the classes are those of train: "
          f"{shorten(names)}{suggest(row.label, names)}")
  if by_hash:
    files = hash_splits([(path, labels[row.label]) for _, row, path in rows])
  else:
    files = _by_split(rows, labels)
  # In the order of labels and paths, as folders are.
  files = {split: sorted(members, key=lambda pair: (pair[1], pair[0]))
           for split, members in files.items()}
  return Listing(root.path, files, tuple(names), by_hash)


def _by_split(
    rows: Sequence[tuple[Table, Row, str]], labels: Mapping[str, int]
) -> Files:
  """Returns the images by the split that the rows say."""
  files: Files = {split: [] for split in SPLITS}
  for _, row, path in rows:
    files[row.split].append((path, labels[row.label]))
  return {split: members for split, members in files.items() if members}


def _common_root(tables: Sequence[Table]) -> Folder:
  """Returns the folder that the paths of all tables are below."""
  folder = tables[0].folder
  return folder.parent if tables[0].split and folder.parent else folder


def _resolved(table: Table, root: Folder) -> list[tuple[Row, str]]:
  """Returns the rows of a file, each with the path of its image.

  Raises:
    DataError: a line names no image of the folder, or one for the second time.
  """
  inside = len(table.folder.below) + 1 if table.folder.below else 0
  names = _names([path[inside:] for path in table.folder.all_images()])
  above = table.folder.path[len(root.path) + 1:]
  lines: dict[str, int] = {}
  resolved = []
  for row in read_rows(table.path):
    where = f"{table}, line {row.line}"
    name = posixpath.normpath(row.file_name)
    if _OUTSIDE.match(name):
      raise DataError(f"{where}: {row.file_name!r} lies outside of the folder; "
                      "expected a path below it")
    name = names.get(name) or names.get(_composed(name)) or name
    if name not in names and not storage.is_file(
        f"{table.folder.path}/{name}"):
      raise DataError(f"{where}: there is no file {row.file_name!r}"
                      f"{_suggest_file(name, list(names.values()))}")
    path = f"{above}/{name}" if above else name
    if path in lines:
      raise DataError(f"{where}: {row.file_name!r} is listed in line "
                      f"{lines[path]} already")
    lines[path] = row.line
    split = row.split
    if table.split:
      if split and split != table.split:
        raise DataError(f"{where}: the split is {split}, but the file lies in "
                        f"the folder of {table.split}")
      split = table.split
    resolved.append((row._replace(split=split), path))
  return resolved


def _check_listed(table: Table, root: Folder, listed: set[str]) -> None:
  """Raises DataError if there are images that no line names."""
  start = len(root.below) + 1 if root.below else 0
  extra = [path[start:] for path in table.folder.all_images()
           if path[start:] not in listed]
  if extra:
    raise DataError(
        f"{table}: does not list {counted(len(extra), 'image')} of the folder: "
        f"{shorten(list(map(storage.printable, extra)), 3)}; add a line for "
        "each or move them out")


def _names(paths: Sequence[str]) -> dict[str, str]:
  """Maps each path, and its composed form where that is unique, to the path.

  A file of labels may be composed (NFC) where a disk is decomposed (NFD).
  """
  composed = Counter(map(_composed, paths))
  return {_composed(path): path for path in paths
          if composed[_composed(path)] == 1} | {path: path for path in paths}


def _composed(path: str) -> str:
  return unicodedata.normalize("NFC", path)


def _suggest_file(name: str, paths: Sequence[str]) -> str:
  """Suggests a file of the folder in place of one that does not exist."""
  last = posixpath.basename(name.replace("\\", "/")).lower()
  same = [path for path in paths if posixpath.basename(path).lower() == last
          or posixpath.splitext(posixpath.basename(path).lower())[0] == last]
  return f" (did you mean {same[0]!r}?)" if same else ""

"""Folders of images: what counts as an image, and what is ignored.

The rules are the same for training, evaluation and prediction:

- an image is a regular file with one of SUFFIXES, in any case;
- names that begin with a dot are ignored, and so are the folders that systems
  make by themselves (SYSTEM_FOLDERS) and folders of thumbnails;
- a link to a file is that file; a link to a folder is followed, unless it
  leads to a folder that is read anyway or to one that contains it.
"""

from collections import Counter
from collections.abc import Iterator
import dataclasses
import functools
import os
import unicodedata

from vit_jax.data.sources import storage
from vit_jax.data.sources.messages import shorten, warn_once
from vit_jax.errors import DataError

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".gif", ".webp",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif")
# Made by macOS, Synology, QNAP, Windows, Linux and Python.
SYSTEM_FOLDERS = frozenset((
    "__macosx", "@eadir", "@tmp", "#recycle", "#snapshot", "$recycle.bin",
    "system volume information", "lost+found", "__pycache__"))
_THUMBNAILS = frozenset(("thumbnails", "_thumbs", "_thumbnails"))
_IGNORED = SYSTEM_FOLDERS | {"thumbs.db", "desktop.ini", "icon\r"}


Identity = tuple[int, int]  # Device and inode.


@dataclasses.dataclass
class Notes:
  """What a scan left out, for one warning at its end.

  Attributes:
    others: how many files of each kind are not images.
    links: links to folders that were not followed, and why.
    thumbnails: folders of thumbnails.
  """

  others: Counter[str] = dataclasses.field(default_factory=Counter)
  links: list[str] = dataclasses.field(default_factory=list)
  thumbnails: list[str] = dataclasses.field(default_factory=list)

  def warn(self, root: str) -> None:
    """Logs a line for each kind of thing that was left out."""
    if self.others:
      warn_once(f"{root}: not images, ignored: {self.kinds()}")
    if self.links:
      warn_once(f"{root}: links to folders, not followed: "
                f"{shorten(self.links)}")
    if self.thumbnails:
      warn_once(f"{root}: folders of thumbnails, ignored: "
                f"{shorten(self.thumbnails)}")

  def kinds(self) -> str:
    """Returns how many files of which kinds are not images."""
    return ", ".join(f"{n} {kind}" for kind, n in sorted(self.others.items()))


class Folder:
  """A folder whose contents are listed when they are asked for.

  Attributes:
    path: absolute, or a URL.
    below: its path below the folder that the scan began with; "" for that.
    parent: the folder it lies in, None for the one the scan began with.
  """

  def __init__(
      self, path: str, below: str = "", parent: "Folder | None" = None,
      notes: Notes | None = None) -> None:
    self.path, self.below, self.parent = path, below, parent
    self.notes = notes if notes is not None else Notes()
    self._top: Folder = parent._top if parent else self
    self._above = parent._inside if parent else _parents(path)

  @property
  def shown(self) -> str:
    """Name for messages; bytes that are not UTF-8 are escaped."""
    return storage.printable(os.path.basename(self.path))

  @property
  def name(self) -> str:
    """Name of the class that the folder is, in Unicode's composed form (NFC).

    Raises:
      DataError: it is not UTF-8.
    """
    raw = os.fsencode(os.path.basename(self.path))
    try:
      return unicodedata.normalize("NFC", raw.decode("utf-8"))
    except UnicodeDecodeError:
      raise DataError(
          f"{storage.printable(self.path)}: the name of this folder is not "
          "UTF-8, so that it cannot name a class; rename it (convmv -f latin1 "
          "-t utf8 does so for many)") from None

  @functools.cached_property
  def identity(self) -> Identity | None:
    """Device and inode, which links to one folder share; None for URLs."""
    return _identity(self.path)

  @functools.cached_property
  def _inside(self) -> frozenset[Identity | None]:
    """The folders that a link below must not lead to."""
    return self._above | {self.identity}

  @functools.cached_property
  def _entries(self) -> list[storage.Entry]:
    return [entry for entry in storage.entries(self.path)
            if not self._is_ignored(entry)]

  def _is_ignored(self, entry: storage.Entry) -> bool:
    name = entry.name.lower()
    if entry.kind == "folder" and name in _THUMBNAILS:
      self.notes.thumbnails.append(storage.printable(self._child(entry.name)))
      return True
    return is_hidden(entry.name)

  def _child(self, name: str) -> str:
    return f"{self.below}/{name}" if self.below else name

  @functools.cached_property
  def folders(self) -> list["Folder"]:
    """The folders directly inside, sorted by name."""
    children = []
    for entry in self._entries:
      if entry.kind != "folder":
        continue
      child = Folder(f"{self.path}/{entry.name}", self._child(entry.name),
                     self, self.notes)
      reason = entry.link and self._why_not(child)
      if reason:
        self.notes.links.append(
            f"{storage.printable(child.below)} ({reason})")
      else:
        children.append(child)
    return children

  def _why_not(self, child: "Folder") -> str:
    """Says why a link is not followed; "" if it is."""
    if child.identity in self._inside:
      return "contains itself"
    # ROOT/val may be a link to ROOT/test. Further down, a link to a folder of
    # ROOT would count images twice, perhaps in two classes.
    target = os.path.relpath(
        os.path.realpath(child.path), os.path.realpath(self._top.path))
    parts = target.split(os.sep)
    if (self is not self._top and parts[0] != os.pardir
        and not any(map(is_hidden, parts))):
      return "read where it lies"
    return ""

  @functools.cached_property
  def images(self) -> list[str]:
    """The paths below the first folder of the images directly inside."""
    names = []
    for entry in self._entries:
      if entry.kind == "folder":
        continue
      suffix = os.path.splitext(entry.name)[1].lower()
      if entry.kind == "file" and suffix in SUFFIXES:
        names.append(self._child(entry.name))
      elif entry.kind == "file":
        self.notes.others[storage.printable(suffix) or "without suffix"] += 1
      else:
        self.notes.others[entry.kind] += 1
    return names

  @property
  def other_files(self) -> list[str]:
    """The names of the files directly inside that are not images."""
    return [entry.name for entry in self._entries if entry.kind == "file"
            and not entry.name.lower().endswith(SUFFIXES)]

  @property
  def is_empty(self) -> bool:
    """Whether there is nothing inside, not even files of other kinds."""
    return not self._entries

  @functools.cached_property
  def holds_images(self) -> bool:
    """Whether there is an image at any depth."""
    return any(folder.images for folder in self._walk(set()))

  def all_images(self) -> list[str]:
    """Returns the sorted paths of all images at any depth."""
    return sorted(path for folder in self._walk(set()) for path in
                  folder.images)

  def _walk(self, seen: set[Identity]) -> Iterator["Folder"]:
    """Yields this folder and those below, each folder of the disk once."""
    if self.identity in seen:
      return
    if self.identity:
      seen.add(self.identity)
    yield self
    for folder in self.folders:
      yield from folder._walk(seen)


def list_images(path: str) -> list[str]:
  """Returns the paths of all images in a folder and those below, in order.

  Args:
    path: of the folder; the results begin with it.

  Raises:
    DataError: a folder cannot be read, or there is no image.
  """
  folder = Folder(path)
  names = folder.all_images()
  folder.notes.warn(storage.printable(path))
  if not names:
    raise DataError(no_images(folder))
  return [f"{path.rstrip('/')}/{name}" for name in names]


def no_images(folder: Folder) -> str:
  """Says that a folder holds no image, and what it holds instead."""
  folder.all_images()
  others = folder.notes.kinds()
  if any("-ubyte" in entry.name for entry in storage.entries(folder.path)):
    return (f"{storage.printable(folder.path)}: no image files, but IDX files; "
            f"write idx:{storage.printable(folder.path)}")
  return (f"{storage.printable(folder.path)}: no image found"
          f"{f' (but {others})' if others else ''}; expected files with "
          f"{' '.join(SUFFIXES)}")


def is_hidden(name: str) -> bool:
  """Returns whether a file or folder of this name is ignored everywhere."""
  return name.startswith(".") and name != "." or name.lower() in _IGNORED


def _identity(path: str) -> Identity | None:
  if storage.is_remote(path):
    return None
  try:
    status = os.stat(path)
  except OSError as error:
    raise DataError(f"{storage.printable(path)}: cannot be read: "
                    f"{error.strerror}") from error
  return status.st_dev, status.st_ino


def _parents(path: str) -> frozenset[Identity | None]:
  """Returns the identities of the folders above."""
  if storage.is_remote(path):
    return frozenset()
  path = os.path.realpath(path)
  parents: set[Identity | None] = set()
  while os.path.dirname(path) != path:
    path = os.path.dirname(path)
    parents.add(_identity(path))
  return frozenset(parents)

"""Files on local disks and in buckets, by path or URL.

Paths are local, or URLs such as gs://bucket/folder, which fsspec reads.
"""

import datetime
import functools
import glob
import os
import re
import threading
from typing import Any, BinaryIO, NamedTuple

import fsspec

from vit_jax.errors import DataError, UnreachableError, UserError

# What fsspec needs for the buckets that people use.
_PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs", "s3a": "s3fs",
             "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs",
             "hf": "huggingface_hub", "http": "aiohttp requests",
             "https": "aiohttp requests"}
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")


class Entry(NamedTuple):
  """A name in a folder.

  Attributes:
    kind: "file", "folder", or what else it is, such as "broken link".
    link: whether it is a symbolic link.
  """

  name: str
  kind: str
  link: bool = False


class Stamp(NamedTuple):
  """Size in bytes, and modification time in ns (0 if unknown)."""

  size: int
  changed: int


def is_remote(path: str) -> bool:
  """Returns whether a path is a URL."""
  return _SCHEME.match(path) is not None


def resolve(path: str, folder: str = "") -> str:
  """Returns an absolute path or a URL.

  Args:
    path: local, with ~ for the home directory, or a URL; file:// is local.
    folder: that a relative path is relative to; the working directory if "".
  """
  path = path.removeprefix("file://") if path.startswith("file:///") else path
  if is_remote(path):
    return path.rstrip("/")
  path = os.path.expanduser(path)
  if folder and not os.path.isabs(path):
    folder = resolve(folder)
    if is_remote(folder):
      return f"{folder}/{path}".rstrip("/")
    path = os.path.join(folder, path)
  return os.path.abspath(path)


def printable(path: str) -> str:
  """Returns a path for messages, which can be encoded as UTF-8.

  Names on a disk are bytes; those that are not UTF-8 are escaped (k\\xe4se).
  """
  return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_folder(path: str) -> bool:
  """Returns whether there is a folder of this path."""
  if not is_remote(path):
    return os.path.isdir(path)
  system, inner = _open(path)
  return bool(_ask(path, system.isdir, inner))


def is_file(path: str) -> bool:
  """Returns whether there is a regular file of this path."""
  if not is_remote(path):
    return os.path.isfile(path)
  system, inner = _open(path)
  return bool(_ask(path, system.isfile, inner))


def entries(folder: str) -> list[Entry]:
  """Returns the names in a folder, sorted.

  Raises:
    DataError: it cannot be read.
  """
  if is_remote(folder):
    system, inner = _open(folder)
    kinds = {"directory": "folder", "file": "file"}
    return sorted(
        Entry(os.path.basename(item["name"].rstrip("/")),
              kinds.get(item["type"], item["type"]))
        for item in _ask(folder, system.ls, inner, detail=True)
        # Buckets list a folder's own placeholder among its files.
        if item["name"].strip("/") != inner.strip("/"))
  try:
    with os.scandir(folder) as listing:
      return sorted(
          Entry(item.name, _kind(item), item.is_symlink()) for item in listing)
  except OSError as error:
    raise _unreadable(folder, error) from error


def _kind(item: os.DirEntry) -> str:
  if item.is_dir():
    return "folder"
  if item.is_file():
    return "file"
  return "broken link" if item.is_symlink() else "pipe, socket or device"


def read(path: str, start: int = 0, size: int | None = None) -> bytes:
  """Returns the bytes of a file, or `size` of them from `start`.

  Raises:
    DataError: it cannot be read.
  """
  if is_remote(path):
    system, inner = _open(path)
    stop = None if size is None else start + size
    return _ask(path, system.cat_file, inner, start=start or None, end=stop)
  try:
    with open(path, "rb") as file:
      if start:
        file.seek(start)
      return file.read() if size is None else file.read(size)
  except OSError as error:
    raise _unreadable(path, error) from error


def open_file(path: str) -> BinaryIO:
  """Opens a file that is read from front to back.

  Raises:
    DataError: it cannot be opened.
  """
  if is_remote(path):
    system, inner = _open(path)
    return _ask(path, system.open, inner, "rb", block_size=1 << 20)
  try:
    return open(path, "rb")
  except OSError as error:
    raise _unreadable(path, error) from error


def stamp(path: str) -> Stamp:
  """Returns the size and the modification time of a file.

  Raises:
    DataError: there is no such file.
  """
  if not is_remote(path):
    try:
      status = os.stat(path)
    except OSError as error:
      raise _unreadable(path, error) from error
    return Stamp(status.st_size, status.st_mtime_ns)
  system, inner = _open(path)
  facts = _ask(path, system.info, inner)
  changed = next((facts[key] for key in (
      "mtime", "updated", "LastModified", "last_modified", "created")
                  if facts.get(key)), None)
  return Stamp(int(facts["size"]), _nanoseconds(changed))


def expand(pattern: str) -> list[str]:
  """Returns the files that a pattern with * and ? matches, sorted."""
  if is_remote(pattern):
    system, inner = _open(pattern)
    scheme = pattern.partition("://")[0]
    return sorted(
        name if is_remote(name) else f"{scheme}://{name.lstrip('/')}"
        for name in _ask(pattern, system.glob, inner))
  return sorted(glob.glob(pattern))


def _nanoseconds(changed: Any) -> int:
  """Reads the time of a change: seconds, a datetime or its ISO form."""
  if isinstance(changed, str):
    try:
      changed = datetime.datetime.fromisoformat(changed)
    except ValueError:
      return 0
  if isinstance(changed, datetime.datetime):
    changed = changed.timestamp()
  return round(changed * 1e9) if isinstance(changed, int | float) else 0


def check_reachable(url: str, seconds: float = 60.0) -> None:
  """Checks that a folder in a bucket answers, in a bounded time.

  Readers in compiled code wait for a network that is not there without end.

  Args:
    url: of a folder; nothing is done for a local path.
    seconds: to wait at most.

  Raises:
    DataError: no answer in time, no such folder, or no right to read it.
  """
  if not is_remote(url):
    return
  outcome: list[Exception] = []

  def ask() -> None:
    try:
      entries(url)
    except Exception as error:
      outcome.append(error)

  thread = threading.Thread(target=ask, name="reachable", daemon=True)
  thread.start()
  thread.join(seconds)
  if thread.is_alive():
    raise UnreachableError(
        f"{url}: no answer in {seconds:.0f} s; check the network, and that "
        "this account may read the bucket")
  if outcome:
    raise outcome[0]


def _open(url: str) -> tuple[Any, str]:
  """Returns fsspec's file system and the path within it."""
  match = _SCHEME.match(url)
  assert match, url
  system = _system(match[1])
  return system, system._strip_protocol(url)


@functools.cache
def _system(scheme: str) -> Any:
  """Returns fsspec's file system for a scheme.

  Raises:
    UserError: its package is not installed, or there is none.
  """
  try:
    return fsspec.filesystem(scheme)
  except ImportError as error:
    package = _PACKAGES.get(scheme)
    advice = f"run pip install {package}" if package else str(error)
    raise UserError(
        f"{scheme}:// needs a package that is not installed; {advice}"
    ) from error
  except ValueError as error:
    raise UserError(
        f"{scheme}:// is not known; expected a local path, gs://, s3:// or "
        "another file system of fsspec") from error


def _ask(url: str, function: Any, *args: Any, **kwargs: Any) -> Any:
  """Calls a file system; its errors have no common type."""
  try:
    return function(*args, **kwargs)
  except FileNotFoundError as error:
    raise DataError(f"{url}: cannot be read: no such file or folder; check "
                    "the address") from error
  except Exception as error:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    kind = DataError if isinstance(error, PermissionError) else UnreachableError
    raise kind(f"{url}: cannot be read: {lines[0][:200]}") from error


def _unreadable(path: str, error: OSError) -> DataError:
  return DataError(f"{printable(path)}: cannot be read: {error.strerror}")

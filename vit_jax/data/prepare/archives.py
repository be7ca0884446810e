"""Tar files: located, decompressed once, listed by header, read by offset.

Nothing is ever extracted to disk under the names in an archive.
"""

import gzip
import os
import tarfile
from typing import BinaryIO, NamedTuple
import zlib

from absl import logging

from vit_jax.data import tar
from vit_jax.data.prepare.contents import Request
from vit_jax.data.progress_bar import Bar
from vit_jax.errors import DataError

# No published archive becomes more than ten times its size.
_RATIO, _SLACK = 100, 64 << 20


class Member(NamedTuple):
  """A file within a tar file, and the place of its bytes."""

  name: str
  offset: int
  size: int


class MissingArchive(DataError):
  """An archive is missing; `url` offers it without an account, if not ""."""

  def __init__(self, path: str, page: str, url: str) -> None:
    other = (f"; or download it with --download ({url})" if url
             else " (which requires an account)")
    super().__init__(
        f"{path}: no such file; get {os.path.basename(path)} from {page} and "
        f"put it into the folder given by --manual_dir{other}")
    self.path, self.url = path, url


def find(request: Request, name: str, page: str, *, url: str = "") -> str:
  """Returns the path of an archive in the folder of the archives.

  Args:
    request: specifies the folder.
    name: of the file.
    page: the official page that offers it.
    url: of a download that requires no account, or "".

  Raises:
    MissingArchive: it is missing.
  """
  path = os.path.join(request.manual_dir, name)
  if not os.path.isfile(path):
    raise MissingArchive(path, page, url)
  return path


def find_optional(request: Request, name: str, page: str) -> str | None:
  """Returns the path of an archive, or None with a warning if it is missing.

  Raises:
    MissingArchive: it is missing, and the request is not for a partial set.
  """
  try:
    return find(request, name, page)
  except MissingArchive as error:
    if not request.partial:
      raise
    logging.warning("%s: no such file; continuing without it", error.path)
    return None


def plain(path: str, scratch: str) -> str:
  """Returns the path of an uncompressed copy, made once; or the file itself.

  Files called .tar.gz are sometimes plain tar files.

  Raises:
    DataError: the file is damaged or truncated.
  """
  with open(path, "rb") as file:
    if file.read(2) != b"\x1f\x8b":
      return path
  size = os.path.getsize(path)
  stem = os.path.basename(path).removesuffix(".gz").removesuffix(".tgz")
  target = os.path.join(scratch, f"{stem}-{size}.tar")
  if os.path.exists(target):
    return target
  os.makedirs(scratch, exist_ok=True)
  try:
    with open(path, "rb") as raw, Bar.wrapattr(
        raw, "read", total=size, disable=None, leave=False,
        desc=f"unzipping {os.path.basename(path)}") as file, gzip.open(
            file) as source, open(target + ".tmp", "wb") as out:
      _copy(source, out, _RATIO * size + _SLACK)
  except (EOFError, gzip.BadGzipFile, zlib.error) as error:
    os.remove(target + ".tmp")
    raise DataError(_damaged(path, str(error))) from error
  os.replace(target + ".tmp", target)
  return target


def _copy(source: gzip.GzipFile, out: BinaryIO, most: int) -> None:
  """Copies to the end; BadGzipFile beyond `most` bytes."""
  done = 0
  while data := source.read(1 << 20):
    done += len(data)
    if done > most:
      raise gzip.BadGzipFile(f"more than {most:,} bytes in it")
    out.write(data)


def members(
    path: str, within: Member | None = None, *, called: str = "",
) -> list[Member]:
  """Returns the regular files in a tar file, or in a tar file within one.

  Only headers are read, and checked against the size of the file: the bytes
  of every member are present, though not read.

  Args:
    path: of an uncompressed tar file.
    within: the inner tar file, None for the whole.
    called: name of the file in error messages, `path` if "".

  Raises:
    DataError: not a tar file, or one that is damaged or truncated.
  """
  start, stop = 0, os.path.getsize(path)
  if within:
    start, stop = within.offset, within.offset + within.size
  try:
    with open(path, "rb") as file:
      return [Member(member.name, member.offset_data, member.size)
              for member in tar.headers(file, start, stop) if member.isreg()]
  except tarfile.TarError as error:
    reason = f"{within.name}: {error}" if within else str(error)
    raise DataError(_damaged(called or path, reason)) from error


def read(path: str, member: Member) -> bytes:
  """Returns the bytes of a member."""
  with open(path, "rb") as file:
    file.seek(member.offset)
    return file.read(member.size)


def by_name(
    path: str, files: list[Member], names: list[str]) -> dict[str, Member]:
  """Returns the members whose paths end in these names, by name.

  Raises:
    DataError: one is missing.
  """
  wanted = {name: member for name in names for member in files
            if member.name == name or member.name.endswith("/" + name)}
  missing = [name for name in names if name not in wanted]
  if missing:
    raise DataError(
        f"{path}: does not contain {', '.join(missing)}, so it is not the "
        "archive of that name; get it again from the official page")
  return wanted


def _damaged(path: str, reason: str) -> str:
  return (f"{path}: a damaged or truncated archive of "
          f"{os.path.getsize(path):,} bytes ({reason}); get it again")

"""Tar files: found, unzipped once, listed by their headers, read in parts.

Nothing is ever extracted to the disk by the names in an archive.
"""

import gzip
import os
import shutil
import tarfile
from typing import NamedTuple
import zlib

from absl import logging
import tqdm

from vit_jax.data.prepare.contents import Request
from vit_jax.errors import DataError

_BLOCK = 512  # Tar files consist of blocks; one of zeros marks the end.


class Member(NamedTuple):
  """A file within a tar file: where its bytes are."""

  name: str
  offset: int
  size: int


class MissingArchive(DataError):
  """An archive is not where it should be; it can be had at `url`, if any."""

  def __init__(self, path: str, page: str, url: str) -> None:
    what = (f"; or let it be downloaded: --download ({url})" if url
            else " (it asks for an account)")
    super().__init__(
        f"{path}: no such file; get {os.path.basename(path)} from {page} and "
        f"put it into the folder that --manual_dir names{what}")
    self.path, self.url = path, url


def find(
    request: Request, name: str, page: str, *, url: str = "",
    optional: bool = False) -> str | None:
  """Returns the path of an archive in the folder of the archives.

  Args:
    request: says which folder, and whether archives may be missing.
    name: of the file.
    page: the official page that offers it.
    url: where it can be downloaded without an account, if so.
    optional: may be missing if the request is for what is there: returns
      None then, and says so.

  Raises:
    MissingArchive: it is not there.
  """
  path = os.path.join(request.manual_dir, name)
  if os.path.isfile(path):
    return path
  if optional and request.partial:
    logging.warning("%s: no such file; going on without it", path)
    return None
  raise MissingArchive(path, page, url)


def plain(path: str, scratch: str) -> str:
  """Returns the path of an uncompressed copy, made once; or the file itself.

  What is called .tar.gz is a plain tar file now and then.

  Raises:
    DataError: the file is damaged or cut off.
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
    with open(path, "rb") as raw, tqdm.tqdm.wrapattr(
        raw, "read", total=size, disable=None, leave=False,
        desc=f"unzipping {os.path.basename(path)}") as file, gzip.open(
            file) as source, open(target + ".tmp", "wb") as out:
      shutil.copyfileobj(source, out, 1 << 20)
  except (EOFError, gzip.BadGzipFile, zlib.error) as error:
    raise DataError(_damaged(path, str(error))) from error
  os.replace(target + ".tmp", target)
  return target


def members(
    path: str, within: Member | None = None, *, called: str = "",
) -> list[Member]:
  """Returns the regular files in a tar file, or in a tar file within one.

  Only headers are read. The bytes of a picture are not looked at, but that
  they are all there is made sure.

  Args:
    path: of an uncompressed tar file.
    within: the inner tar file, None for the whole.
    called: what to call the file in errors.

  Raises:
    DataError: no tar file, or one that is damaged or cut off.
  """
  size = os.path.getsize(path)
  start, stop = 0, size
  if within:
    start, stop = within.offset, within.offset + within.size
  found = []
  try:
    with open(path, "rb") as file:
      file.seek(start)
      with tarfile.open(fileobj=file, mode="r:") as tar:
        while (member := tar.next()) is not None:
          tar.members = []  # Or a million of them would stay in memory.
          if not member.isreg():
            continue
          if member.offset_data + member.size > stop:
            raise tarfile.ReadError(f"{member.name} goes beyond the end")
          found.append(Member(member.name, member.offset_data, member.size))
        file.seek(tar.offset)
        if tar.offset >= stop or file.read(_BLOCK) != bytes(_BLOCK):
          raise tarfile.ReadError("no end mark where one should be")
  except tarfile.TarError as error:
    where = f"{within.name}: {error}" if within else str(error)
    raise DataError(_damaged(called or path, where)) from error
  return found


def read(path: str, member: Member) -> bytes:
  """Returns the bytes of a member."""
  with open(path, "rb") as file:
    file.seek(member.offset)
    return file.read(member.size)


def by_name(
    path: str, found: list[Member], names: list[str]) -> dict[str, Member]:
  """Returns the members that end in these paths, by them.

  Raises:
    DataError: one is missing.
  """
  wanted = {name: member for name in names for member in found
            if member.name == name or member.name.endswith("/" + name)}
  missing = [name for name in names if name not in wanted]
  if missing:
    raise DataError(
        f"{path}: holds no {', '.join(missing)}; it is not the archive that "
        "its name says, get it again from the official page")
  return wanted


def _damaged(path: str, reason: str) -> str:
  return (f"{path}: a damaged or truncated archive of "
          f"{os.path.getsize(path):,} bytes ({reason}); get it again")

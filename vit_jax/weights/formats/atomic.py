"""Writes files so that no reader ever sees half of one."""

from collections.abc import Iterator
import contextlib
import os
import pathlib
from typing import BinaryIO

from etils import epath

from vit_jax.paths import to_write


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
  """Opens a temporary neighbour of `path`, renamed to it once all is written.

  A reader sees the old file or the whole new one. A failure leaves the old
  file unchanged and no temporary file behind.
  """
  path = to_write(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    with open(temporary, "wb") as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except OSError as error:
    # Of an open file, as when a disk fails, the error has no name; and the
    # temporary one's says nothing to the reader.
    if error.errno is not None and error.filename in (
        None, os.fspath(temporary)):
      error.filename = os.fspath(path)
    raise
  finally:
    # On a disk that has failed this fails, too, and would hide the reason.
    with contextlib.suppress(OSError):
      temporary.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike, content: bytes) -> None:
  """Replaces a file at once; in a bucket, files only ever appear whole."""
  if "://" in os.fspath(path):
    epath.Path(path).write_bytes(content)
    return
  with atomic_write(path) as file:
    file.write(content)


def remove_leftovers(folder: str | os.PathLike) -> None:
  """Removes what killed processes were writing to a local folder.

  Looks in it and in its folders, not deeper. Only for a folder that no other
  process writes to.
  """
  place = pathlib.Path(folder)
  for path in (*place.glob(".*.tmp"), *place.glob("*/.*.tmp")):
    if path.name.split(".")[-2].isdecimal() and path.is_file():
      path.unlink(missing_ok=True)

"""Headers of uncompressed tar files, read without the contents."""

from collections.abc import Iterator
import tarfile
from typing import BinaryIO

BLOCK = 512  # Tar files consist of blocks; one of zeros marks the end.


def headers(
    file: BinaryIO, start: int, stop: int) -> Iterator[tarfile.TarInfo]:
  """Yields the header of each member of a tar file, in order.

  Unlike tarfile's own iteration it keeps no member in memory, and a damaged
  header or a missing end is an error instead of the end.

  Args:
    file: open for reading at any position; may hold the tar file within.
    start: position of the tar file in `file`, in bytes.
    stop: position of its end.

  Raises:
    tarfile.TarError: damaged or truncated, or not a tar file.
  """
  file.seek(start)
  with tarfile.open(fileobj=file, mode="r:") as tar:
    tar.offset = start
    while True:
      file.seek(tar.offset)
      if tar.offset + BLOCK > stop:
        raise tarfile.ReadError("the end mark is missing")
      if file.read(BLOCK) == bytes(BLOCK):
        return
      file.seek(tar.offset)
      try:
        member = tarfile.TarInfo.fromtarfile(tar)
      # Of the many fields of a header, some fail in Python's own ways.
      except (tarfile.HeaderError, ArithmeticError, OSError, RecursionError,
              ValueError) as error:
        raise tarfile.ReadError(
            f"{error} at byte {tar.offset - start:,}") from error
      if member.size < 0:
        raise tarfile.ReadError(
            f"a size of {member.size} at byte {tar.offset - start:,}")
      if tar.offset > stop:
        raise tarfile.ReadError(f"{member.name} goes beyond the end")
      yield member

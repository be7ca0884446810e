"""The .npz container: arrays under the names that the file uses.

What the names mean is the business of `vit_jax.weights.names`.
"""

from collections.abc import Callable, Mapping
import os
import struct
from typing import IO, Any, BinaryIO, cast
import zipfile
import zlib

import ml_dtypes
import numpy as np

from vit_jax.errors import CheckpointError, abbreviate, one_line
from vit_jax.weights.formats.atomic import atomic_write
from vit_jax.weights.formats.checksum import digest
from vit_jax.weights.formats.detect import detect_format
from vit_jax.weights.formats.raw_arrays import (
  CHUNK,
  Span,
  aligned_empty,
  check_names,
  in_order,
  nbytes,
  read_spans,
  refuse_non_finite,
)

_AGAIN = "get or write the file again"
# What zipfile raises on bytes that are no longer what was written.
_DAMAGE = (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError,
           OverflowError, struct.error, zlib.error)
# No weights deflate to less than a 64th; a small file may be all zeros.
_RATIO, _SLACK = 64, 256 << 20
# Records of the zip format (APPNOTE.TXT, 4.3.16, 4.3.15 and 4.3.14): signature,
# ..., number of members, ...
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4s28xQ")


def read_npz(
    path: str | os.PathLike, select: Callable[[list[str]], list[str]] = list
) -> dict[str, np.ndarray]:
  """Reads the arrays of an .npz file under the names that the file uses.

  Stored arrays (numpy.savez) are read straight into memory, a few at a time;
  compressed ones through numpy. bfloat16, which numpy reads as raw pairs of
  bytes, is returned as bfloat16.

  Args:
    path: the file.
    select: chooses names among those in the file; the others are not read.

  Raises:
    CheckpointError: the file is not an .npz, is damaged, holds pickled objects,
      or an array holds NaN or infinity. Pickles are never opened.
  """
  if detect_format(path) != "npz":
    raise CheckpointError(
        f"{path}: a .safetensors file; an .npz was expected")
  try:
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
      members = _members(path, file, archive)
      spans, compressed = {}, {}
      for name in select(list(members)):
        located = _locate(path, file, archive, members[name])
        if isinstance(located, Span):
          spans[name] = located
        else:
          compressed[name] = located
  except _DAMAGE as error:
    raise _damaged(path, error) from None
  refuse_non_finite(path, compressed)
  arrays = read_spans(path, spans) | compressed
  return {name: arrays[name] for name in members if name in arrays}


def read_note(path: str | os.PathLike) -> str:
  """Returns the text that `write_npz` kept beside the arrays, or ""."""
  try:
    with zipfile.ZipFile(path) as archive:
      return archive.comment.decode("utf-8", "replace")
  except _DAMAGE:
    return ""  # Reading the arrays says what is wrong.


def npz_digest(path: str | os.PathLike) -> str:
  """Returns the digest of all arrays, see `checksum.digest`.

  Only the directory of the zip is read: `read_npz` verifies its checksums.

  Raises:
    CheckpointError: as `read_npz`.
  """
  try:
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
      return digest({name: info.CRC for name, info in
                     _members(path, file, archive).items()})
  except _DAMAGE as error:
    raise _damaged(path, error) from None


def _damaged(path: str | os.PathLike, error: Exception) -> CheckpointError:
  """Returns the error of a file that is not what was written."""
  size = os.path.getsize(path)
  return CheckpointError(
      f"{path}: a truncated or damaged .npz ({size:,} bytes, "
      f"{one_line(error)}); {_AGAIN}")


def write_npz(
    path: str | os.PathLike, arrays: Mapping[str, np.ndarray], note: str = ""
) -> None:
  """Writes arrays atomically, names sorted; equal arrays give equal bytes.

  Args:
    path: the file.
    arrays: by name.
    note: a text that is kept as the comment of the archive. There it disturbs
      no other reader, which an array of an unknown name would.

  Raises:
    CheckpointError: an array holds NaN or infinity.
  """
  refuse_non_finite(path, arrays)
  # Transposed views would be written in Fortran order: other bytes.
  ordered: dict[str, Any] = {
      name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}
  comment = note.encode()[:2**16 - 1]
  with atomic_write(path) as file:
    np.savez(file, **ordered)
    # The archive ends with the comment, after its length in two bytes.
    file.seek(-2, os.SEEK_END)
    file.write(struct.pack("<H", len(comment)) + comment)


def _members(
    path: str | os.PathLike, file: BinaryIO, archive: zipfile.ZipFile
) -> dict[str, zipfile.ZipInfo]:
  """Returns the arrays of an archive by name.

  Raises:
    CheckpointError: none, or other files than arrays.
    BadZipFile: the directory contradicts itself or the file.
  """
  members = archive.infolist()
  names = [info.filename for info in members]
  _check_directory(file, archive, members)
  if any(name.endswith("/data.pkl") for name in names):
    raise CheckpointError(
        f"{path}: a PyTorch file (a pickle in a zip), not .npz; save its "
        "state_dict as .safetensors")
  if not names:
    raise CheckpointError(f"{path}: an empty zip without arrays; {_AGAIN}")
  foreign = [name for name in names if not name.endswith(".npy")]
  if foreign:
    raise CheckpointError(
        f"{path}: a zip with other files than arrays ({abbreviate(foreign)}); "
        "give a file written by numpy.savez")
  check_names(path, [name[:-4] for name in names])
  return {info.filename[:-4]: info for info in members}


def _check_directory(
    file: BinaryIO, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]
) -> None:
  """Raises BadZipFile where the directory contradicts itself or the file.

  zipfile takes what it can read of a directory: a wrong length in one entry
  can hide all that follow, and with them the layers at the end.
  """
  count = _stated_count(file, len(archive.comment))
  if len(members) != count:
    raise zipfile.BadZipFile(
        f"{count} arrays according to the end of the file, {len(members)} in "
        "its directory")
  if len({info.filename for info in members}) != count:
    raise zipfile.BadZipFile("two arrays of the same name")
  stored = sum(info.compress_size for info in members)
  if stored > archive.start_dir:
    raise zipfile.BadZipFile(
        f"arrays of {stored:,} bytes in {archive.start_dir:,}")
  if any(info.compress_type == zipfile.ZIP_STORED
         and info.compress_size != info.file_size for info in members):
    raise zipfile.BadZipFile("an array of two sizes")
  whole = sum(info.file_size for info in members)
  if whole > _RATIO * archive.start_dir + _SLACK:
    raise zipfile.BadZipFile(
        f"it would become {whole:,} bytes, more than {_RATIO} times its own "
        "size")


def _stated_count(file: BinaryIO, comment: int) -> int:
  """Returns the number of members that the end of a zip states.

  Args:
    file: the zip.
    comment: length of the comment behind the end record, in bytes.
  """
  at = file.seek(0, os.SEEK_END) - comment - _END.size
  end = _record(file, at, _END)
  if end[0] != b"PK\x05\x06":
    raise zipfile.BadZipFile("something behind its end")
  if end[4] != 0xFFFF or at < _LOCATOR.size:
    return end[4]
  signature, _, offset, _ = _record(file, at - _LOCATOR.size, _LOCATOR)
  if signature != b"PK\x06\x07":
    return end[4]
  return _record(file, offset, _END64)[1]


def _record(
    file: BinaryIO, offset: int, layout: struct.Struct
) -> tuple[Any, ...]:
  """Returns the fields of a record in a file."""
  file.seek(max(0, offset))
  data = file.read(layout.size)
  if len(data) < layout.size:
    raise zipfile.BadZipFile("a record lies outside of the file")
  return layout.unpack(data)


def _locate(
    path: str | os.PathLike, file: BinaryIO,
    archive: zipfile.ZipFile, info: zipfile.ZipInfo,
) -> Span | np.ndarray:
  """Returns where an array lies, or a compressed array itself."""
  name = info.filename[:-4]
  with archive.open(info) as opened:
    member = cast(zipfile.ZipExtFile, opened)
    # A header is a Python literal; damaged ones fail in any way.
    try:
      shape, fortran_order, dtype = _read_header(opened)
    except Exception as error:
      raise CheckpointError(
          f"{path}: {name} is not an array ({one_line(error)}); {_AGAIN}"
      ) from None
    dtype = _plain_dtype(path, name, dtype)
    size = member.tell()
    # Before any memory is taken for it.
    if nbytes(shape, dtype) != info.file_size - size:
      raise zipfile.BadZipFile(
          f"{name} has {info.file_size - size:,} bytes, which is not "
          f"{dtype} {shape}")
    if info.compress_type != zipfile.ZIP_STORED:
      return in_order(
          _inflated(member, info.file_size - size).view(dtype), shape,
          fortran_order)
    member.seek(0)
    checksum = zlib.crc32(member.read(size))
  file.seek(info.header_offset)
  name_size, extra_size = struct.unpack("<26xHH", file.read(30))
  start = info.header_offset + 30 + name_size + extra_size
  return Span(start + size, dtype, shape, fortran_order, info.CRC, checksum)


def _inflated(member: zipfile.ZipExtFile, size: int) -> np.ndarray:
  """Returns the rest of a compressed member, `size` bytes."""
  buffer = aligned_empty(size)
  view, done = buffer.data, 0
  # Beyond the last byte: only at the end is the checksum compared.
  while got := member.readinto(view[done:done + CHUNK] if done < size
                               else bytearray(1)):
    done += got
  if done != size:
    raise EOFError(f"{done:,} of {size:,} bytes")
  return buffer


def _read_header(
    member: IO[bytes]
) -> tuple[tuple[int, ...], bool, np.dtype]:
  """Returns shape, whether in Fortran order, and dtype of a .npy member."""
  version = np.lib.format.read_magic(member)
  if version == (1, 0):
    return np.lib.format.read_array_header_1_0(member)
  if version == (2, 0):
    return np.lib.format.read_array_header_2_0(member)
  raise ValueError(f"header version {version}")


def _plain_dtype(
    path: str | os.PathLike, name: str, dtype: np.dtype
) -> np.dtype:
  """Returns the dtype of numbers; numpy writes bfloat16 as void pairs."""
  if dtype.hasobject:
    raise CheckpointError(
        f"{path}: {name} holds pickled Python objects, which can run code and "
        "are never opened; save plain arrays")
  if dtype == np.dtype("V2"):
    return np.dtype(ml_dtypes.bfloat16)
  if dtype.kind not in "fiub":
    raise CheckpointError(
        f"{path}: {name} is of type {dtype}; numbers were expected")
  return dtype

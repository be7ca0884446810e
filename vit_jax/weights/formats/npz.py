"""The .npz container: arrays under the names that the file uses.

What the names mean is the business of `vit_jax.weights.names`.
"""

from collections.abc import Callable, Mapping
import os
import struct
from typing import IO, Any, BinaryIO
import zipfile
import zlib

import ml_dtypes
import numpy as np

from vit_jax.errors import CheckpointError, abbreviate
from vit_jax.weights.formats.atomic import atomic_write
from vit_jax.weights.formats.detect import detect_format
from vit_jax.weights.formats.raw_arrays import (
  Span,
  read_spans,
  refuse_non_finite,
)

_AGAIN = "get or write the file again"
# What zipfile raises on bytes that are no longer what was written.
_DAMAGE = (zipfile.BadZipFile, EOFError, OSError, RuntimeError, zlib.error)


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
      members = _members(path, archive)
      spans, compressed = {}, {}
      for name in select(list(members)):
        located = _locate(path, file, archive, members[name])
        if isinstance(located, Span):
          spans[name] = located
        else:
          compressed[name] = located
  except _DAMAGE as error:
    size = os.path.getsize(path)
    raise CheckpointError(
        f"{path}: a truncated or damaged .npz ({size:,} bytes, {error}); "
        f"{_AGAIN}") from None
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
    path: str | os.PathLike, archive: zipfile.ZipFile
) -> dict[str, zipfile.ZipInfo]:
  """Returns the arrays of an archive by name; CheckpointError if none."""
  names = archive.namelist()
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
  return {info.filename[:-4]: info for info in archive.infolist()}


def _locate(
    path: str | os.PathLike, file: BinaryIO,
    archive: zipfile.ZipFile, info: zipfile.ZipInfo,
) -> Span | np.ndarray:
  """Returns where an array lies, or a compressed array itself."""
  name = info.filename[:-4]
  with archive.open(info) as member:
    try:
      shape, fortran_order, dtype = _read_header(member)
    except ValueError as error:
      raise CheckpointError(
          f"{path}: {name} is not an array ({error}); {_AGAIN}") from None
    dtype = _plain_dtype(path, name, dtype)
    size = member.tell()
    member.seek(0)
    if info.compress_type != zipfile.ZIP_STORED:
      array = np.lib.format.read_array(member, allow_pickle=False)
      return array.view(dtype)
    checksum = zlib.crc32(member.read(size))
  file.seek(info.header_offset)
  name_size, extra_size = struct.unpack("<26xHH", file.read(30))
  start = info.header_offset + 30 + name_size + extra_size
  return Span(start + size, dtype, shape, fortran_order, info.CRC, checksum)


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

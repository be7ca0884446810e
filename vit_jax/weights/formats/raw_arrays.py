"""Reads raw arrays out of a file at full speed.

Both containers (npz and safetensors) store each array as one run of bytes. The
run is read straight into the memory of the array, without an intermediate
copy, so that loading a file takes its own size in memory and no more. Buffers
begin at a multiple of 64 bytes, which lets `jax.device_put` share them on a CPU
instead of copying.
"""

from collections.abc import Mapping, Sequence
import concurrent.futures
import dataclasses
import math
import os
import zlib

import ml_dtypes
import numpy as np

from vit_jax.errors import CheckpointError, abbreviate

_ALIGNMENT = 64  # XLA shares a CPU buffer only from such an address
CHUNK = 4 << 20  # read and summed while the bytes are still in the cache
_THREADS = 4


# Bounds on what a file may claim; the largest models have 2,000 arrays.
_MOST_ARRAYS, _LONGEST_NAME, _MOST_DIMENSIONS = 100_000, 500, 32


def check_names(path: str | os.PathLike, names: Sequence[str]) -> None:
  """Raises CheckpointError for names that are too many, too long or no text."""
  strange = [name for name in names
             if len(name) > _LONGEST_NAME or not name.isprintable()]
  if len(names) > _MOST_ARRAYS:
    what = f"{len(names):,} arrays, {_MOST_ARRAYS:,} at most were expected"
  elif strange:
    what = f"{ascii(strange[0])[:80]} as the name of an array"
  else:
    return
  raise CheckpointError(f"{path}: {what}; get or write the file again")


def nbytes(shape: Sequence[int], dtype: np.dtype) -> int:
  """Returns the size of an array; -1 for what is no shape."""
  if len(shape) > _MOST_DIMENSIONS or not all(
      type(n) is int and n >= 0 for n in shape):
    return -1
  return math.prod(shape) * dtype.itemsize


def in_order(
    array: np.ndarray, shape: Sequence[int], fortran_order: bool
) -> np.ndarray:
  """Returns flat numbers as an array, in the byte order of this machine."""
  array = array.reshape(shape, order="F" if fortran_order else "C")
  return array.astype(array.dtype.newbyteorder("="), copy=False)


@dataclasses.dataclass(frozen=True)
class Span:
  """Where one array lies in a file: `offset` and `dtype` x `shape` bytes.

  `crc` is the checksum that the container stores, None where it stores none.
  `crc_start` is the checksum of the bytes that it covers before these, 0 if
  there are none.
  """

  offset: int
  dtype: np.dtype
  shape: tuple[int, ...]
  fortran_order: bool = False
  crc: int | None = None
  crc_start: int = 0


def read_spans(
    path: str | os.PathLike, spans: Mapping[str, Span]
) -> dict[str, np.ndarray]:
  """Reads every span of a file, a few at a time, in the order given.

  Raises:
    CheckpointError: the file ends early, a checksum is wrong, or an array
      holds NaN or infinity; one line that names the arrays.
  """
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
    results = list(pool.map(
        lambda span: _read_span(path, span), spans.values()))
  arrays = {name: array for name, array in zip(spans, results, strict=True)
            if array is not None}
  broken = [name for name in spans if name not in arrays]
  if broken:
    raise CheckpointError(
        f"{path}: damaged: {abbreviate(broken)} cannot be read back as written "
        "(end of file or wrong checksum); get or write the file again")
  refuse_non_finite(path, arrays)
  return arrays


def refuse_non_finite(
    path: str | os.PathLike, arrays: Mapping[str, np.ndarray]
) -> None:
  """Raises CheckpointError with the names of arrays with NaN or infinity."""
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
    finite = list(pool.map(_is_finite, arrays.values()))
  bad = [n for n, ok in zip(arrays, finite, strict=True) if not ok]
  if bad:
    raise CheckpointError(
        f"{path}: NaN or infinity in {abbreviate(bad)}; weights must be "
        "finite: take an earlier checkpoint of that run")


def aligned_empty(size: int) -> np.ndarray:
  """Returns `size` uninitialised bytes at a multiple of 64."""
  raw = np.empty(size + _ALIGNMENT, np.uint8)
  start = -raw.ctypes.data % _ALIGNMENT
  return raw[start:start + size]


def _read_span(path: str | os.PathLike, span: Span) -> np.ndarray | None:
  """Reads one array; None where its bytes are missing or not as written."""
  size = nbytes(span.shape, span.dtype)
  # Before any memory is taken for it.
  if size < 0 or span.offset < 0 or (
      span.offset + size > os.path.getsize(path)):
    return None
  buffer = aligned_empty(size)
  view, crc = buffer.data, span.crc_start
  with open(path, "rb", buffering=0) as file:
    file.seek(span.offset)
    done = 0
    while done < len(view):
      got = file.readinto(view[done:done + CHUNK])
      if not got:
        return None
      if span.crc is not None:
        crc = zlib.crc32(view[done:done + got], crc)
      done += got
  if span.crc is not None and crc != span.crc:
    return None
  return in_order(buffer.view(span.dtype), span.shape, span.fortran_order)


def _is_finite(array: np.ndarray) -> bool:
  """Returns whether no element is NaN or infinite; True for integers."""
  if array.dtype == ml_dtypes.bfloat16:
    return bool(np.isfinite(array).all())
  if array.dtype.kind != "f":
    return True
  # NaN and infinity survive a sum, which needs no memory. Only where the sum
  # itself overflows are the elements tested one by one.
  with np.errstate(all="ignore"):
    if np.isfinite(array.sum()):
      return True
  return bool(np.isfinite(array).all())

"""Reads raw arrays out of a file at full speed.

Both containers (npz and safetensors) store each array as one run of bytes. The
run is read straight into the memory of the array, without an intermediate
copy, so that loading a file takes its own size in memory and no more. Buffers
begin at a multiple of 64 bytes, which lets `jax.device_put` share them on a CPU
instead of copying.
"""

from collections.abc import Mapping
import concurrent.futures
import dataclasses
import os
import zlib

import ml_dtypes
import numpy as np

from vit_jax.errors import CheckpointError, abbreviate

_ALIGNMENT = 64  # XLA shares a CPU buffer only from such an address
_CHUNK = 4 << 20  # read and summed while the bytes are still in the cache
_THREADS = 4


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


def _aligned_empty(nbytes: int) -> np.ndarray:
  """Returns `nbytes` uninitialised bytes at a multiple of 64."""
  raw = np.empty(nbytes + _ALIGNMENT, np.uint8)
  start = -raw.ctypes.data % _ALIGNMENT
  return raw[start:start + nbytes]


def _read_span(path: str | os.PathLike, span: Span) -> np.ndarray | None:
  """Reads one array; None where its bytes are missing or not as written."""
  count = int(np.prod(span.shape, dtype=np.int64))
  buffer = _aligned_empty(count * span.dtype.itemsize)
  view, crc = buffer.data, span.crc_start
  with open(path, "rb", buffering=0) as file:
    file.seek(span.offset)
    done = 0
    while done < len(view):
      got = file.readinto(view[done:done + _CHUNK])
      if not got:
        return None
      if span.crc is not None:
        crc = zlib.crc32(view[done:done + got], crc)
      done += got
  if span.crc is not None and crc != span.crc:
    return None
  array = buffer.view(span.dtype).reshape(
      span.shape, order="F" if span.fortran_order else "C")
  return array.astype(span.dtype.newbyteorder("="), copy=False)


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

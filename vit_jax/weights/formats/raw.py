"""Reads arrays out of a file at full speed, and writes files atomically.

Both containers (npz and safetensors) keep each array as one run of bytes. The
run is read straight into the memory of the array: no intermediate copy, so a
file takes its own size in memory, and no more. Buffers begin at a multiple of
64 bytes, which lets `jax.device_put` share them on a CPU instead of copying.
"""

from collections.abc import Iterator, Mapping
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import os
import pathlib
from typing import BinaryIO
import zlib

import ml_dtypes
import numpy as np

from vit_jax.errors import CheckpointError

_ALIGNMENT = 64  # what XLA asks of a buffer that it shares on a CPU
_CHUNK = 4 << 20  # read, sum and check while the bytes are still in the cache
_THREADS = 4


@dataclasses.dataclass(frozen=True)
class Span:
  """Where one array lies in a file: `offset` and `dtype` x `shape` bytes.

  `crc` is the checksum of the bytes, with `crc_start` that of what the sum
  covers before them (0 for nothing); None where the container has no checksum.
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
    found = pool.map(lambda span: _read_span(path, span), spans.values())
    arrays = dict(zip(spans, found, strict=True))
  broken = [name for name, array in arrays.items() if array is None]
  if broken:
    raise CheckpointError(
        f"{path}: damaged: {listed(broken)} cannot be read back as written "
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
        f"{path}: NaN or infinity in {listed(bad)}; weights must be finite: "
        "take an earlier checkpoint of that run")


def listed(names: list[str], limit: int = 4) -> str:
  """Returns "a, b, c, d and 3 more"."""
  more = f" and {len(names) - limit} more" if len(names) > limit else ""
  return ", ".join(names[:limit]) + more


def sha256(path: str | os.PathLike) -> str:
  """Returns the SHA-256 of a file as 64 hexadecimal digits."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
  """Opens a temporary neighbour of `path`, renamed to it once all is written.

  A reader sees the old file or the whole new one, and a failure leaves the
  old one as it was and no temporary file behind.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    with open(temporary, "wb") as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def _aligned_empty(nbytes: int) -> np.ndarray:
  """Returns `nbytes` uninitialised bytes at a multiple of 64."""
  raw = np.empty(nbytes + _ALIGNMENT, np.uint8)
  start = -raw.ctypes.data % _ALIGNMENT
  return raw[start:start + nbytes]


def _read_span(path: str | os.PathLike, span: Span) -> np.ndarray | None:
  """Reads one array; None where its bytes are missing or not as written."""
  count = int(np.prod(span.shape, dtype=np.int64))
  buffer = _aligned_empty(count * span.dtype.itemsize)
  view, crc = memoryview(buffer), span.crc_start
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
  order = "F" if span.fortran_order else "C"
  array = buffer.view(span.dtype).reshape(span.shape, order=order)
  return array.astype(span.dtype.newbyteorder("="), copy=False)


def _is_finite(array: np.ndarray) -> bool:
  """Whether no element is NaN or infinite (true of integers)."""
  if array.dtype == ml_dtypes.bfloat16:
    return bool(np.isfinite(array).all())
  if array.dtype.kind != "f":
    return True
  # NaN and infinity survive a sum, which needs no memory; only a sum that
  # overflows by itself has to be looked at element by element.
  with np.errstate(all="ignore"):
    if np.isfinite(array.sum()):
      return True
  return bool(np.isfinite(array).all())

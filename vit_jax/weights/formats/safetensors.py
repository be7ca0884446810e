"""The safetensors container, read and written without PyTorch.

Eight bytes with the length of a JSON header, the header ({name: dtype, shape,
[begin, end)} and "__metadata__", strings by strings), and the arrays.
"""

from collections.abc import Callable, Mapping
import json
import math
import os
import re
from typing import Any

import ml_dtypes
import numpy as np

from vit_jax.errors import CheckpointError
from vit_jax.weights.formats.atomic import atomic_write
from vit_jax.weights.formats.detect import detect_format
from vit_jax.weights.formats.raw_arrays import (
    Span,
    read_spans,
    refuse_non_finite,
)

_DTYPES = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16), "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"),
    "U8": np.dtype("u1"), "BOOL": np.dtype("?"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
# What the reference library writes besides.
_OTHER_DTYPES = r"U(16|32|64)|C64|F8_\w+|F6_\w+|F4|[IU]4"


def read_safetensors(
    path: str | os.PathLike, select: Callable[[list[str]], list[str]] = list
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Returns the arrays under the file's names, and its "__metadata__".

  Args:
    path: the file.
    select: chooses names among those in the file; the others are not read.

  Raises:
    CheckpointError: the file is not a .safetensors, is damaged, holds numbers
      of a kind that numpy has not, or an array holds NaN or infinity.
  """
  if detect_format(path) != "safetensors":
    raise CheckpointError(
        f"{path}: an .npz file; a .safetensors was expected")
  spans, kinds, metadata = _read_header(path)
  wanted = select(list(kinds))
  unknown = sorted({kinds[name] for name in wanted} - set(_DTYPES))
  if unknown:
    raise CheckpointError(
        f"{path}: arrays of {', '.join(unknown)}, which this package does not "
        f"read; write them as one of {', '.join(_DTYPES)} first")
  return read_spans(path, {name: spans[name] for name in wanted}), metadata


def _read_header(
    path: str | os.PathLike
) -> tuple[dict[str, Span], dict[str, str], dict[str, str]]:
  """Returns the spans of known dtypes, every array's dtype, and metadata.

  Every byte behind the header must belong to exactly one array, as the
  reference library demands: a file with gaps, overlaps or a tail is not the
  file that was written.
  """
  try:
    size_of_file = os.path.getsize(path)
    with open(path, "rb") as file:
      size = int.from_bytes(file.read(8), "little")
      header = json.loads(file.read(size).decode())
    metadata = header.pop("__metadata__", {})
    spans, kinds, ranges = {}, {}, []
    for name, entry in header.items():
      kind, shape = entry["dtype"], tuple(entry["shape"])
      begin, end = entry["data_offsets"]
      ranges.append((begin, end, name))
      kinds[name] = str(kind)
      if kind in _DTYPES:
        span = Span(8 + size + begin, _DTYPES[kind], shape)
        if math.prod(shape) * span.dtype.itemsize != end - begin:
          raise ValueError(f"{name}: {end - begin} bytes for {entry['shape']}")
        spans[name] = span
      elif not re.fullmatch(_OTHER_DTYPES, kinds[name]):
        raise ValueError(f"{name}: dtype {kind!r} is unknown")
    position = 0
    for begin, end, name in sorted(ranges):
      if begin != position or end < begin:
        raise ValueError(f"{name}: begins at byte {begin}, expected {position}")
      position = end
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise CheckpointError(
        f"{path}: a truncated or damaged .safetensors file "
        f"({os.path.getsize(path):,} bytes, {error!r}); get or write the file "
        "again") from None
  if not kinds:
    raise CheckpointError(f"{path}: a .safetensors file without arrays")
  if 8 + size + position < size_of_file:
    raise CheckpointError(
        f"{path}: a damaged .safetensors file: {size_of_file - 8 - size:,} "
        f"bytes behind its header, which describes {position:,}; get or write "
        "the file again")
  return spans, kinds, metadata


def write_safetensors(
    path: str | os.PathLike, arrays: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
) -> None:
  """Writes arrays atomically, names sorted.

  Raises:
    CheckpointError: an array holds NaN or infinity.
  """
  arrays = {name: np.asarray(arrays[name]) for name in sorted(arrays)}
  refuse_non_finite(path, arrays)
  # PyTorch's loaders look for "format".
  header: dict[str, Any] = {
      "__metadata__": {"format": "pt"} | dict(metadata or {})}
  offset = 0
  for name, array in arrays.items():
    header[name] = {
        "dtype": _NAMES[array.dtype], "shape": list(array.shape),
        "data_offsets": [offset, offset + array.nbytes]}
    offset += array.nbytes
  text = json.dumps(header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)  # the arrays begin at a multiple of 8
  with atomic_write(path) as file:
    file.write(len(text).to_bytes(8, "little") + text)
    for array in arrays.values():
      file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

"""The safetensors container, read and written without PyTorch.

Eight bytes with the length of a JSON header, the header ({name: dtype, shape,
[begin, end)} and "__metadata__", strings by strings), and the arrays.
"""

from collections.abc import Callable, Mapping
import json
import os
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


def read_safetensors(
    path: str | os.PathLike, select: Callable[[list[str]], list[str]] = list
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Returns the arrays under the file's names, and its "__metadata__".

  Args:
    path: the file.
    select: chooses names among those in the file; the others are not read.

  Raises:
    CheckpointError: the file is not a .safetensors, is damaged, or an array
      holds NaN or infinity.
  """
  if detect_format(path) != "safetensors":
    raise CheckpointError(
        f"{path}: an .npz file; a .safetensors was expected")
  try:
    with open(path, "rb") as file:
      size = int.from_bytes(file.read(8), "little")
      header = json.loads(file.read(size).decode())
    metadata = header.pop("__metadata__", {})
    spans = {}
    for name, entry in header.items():
      begin, end = entry["data_offsets"]
      span = Span(8 + size + begin, _DTYPES[entry["dtype"]],
                  tuple(entry["shape"]))
      count = int(np.prod(span.shape, dtype=np.int64))
      if count * span.dtype.itemsize != end - begin:
        raise ValueError(f"{name}: {end - begin} bytes for {entry['shape']}")
      spans[name] = span
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise CheckpointError(
        f"{path}: a truncated or damaged .safetensors file "
        f"({os.path.getsize(path):,} bytes, {error!r}); get or write the file "
        "again") from None
  if not spans:
    raise CheckpointError(f"{path}: a .safetensors file without arrays")
  wanted = {name: spans[name] for name in select(list(spans))}
  return read_spans(path, wanted), metadata


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

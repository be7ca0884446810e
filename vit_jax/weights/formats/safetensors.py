"""The safetensors container, read and written without PyTorch.

Eight bytes with the length of a JSON header, the header ({name: dtype, shape,
[begin, end)} and "__metadata__", strings by strings), and the arrays.

The format has no checksums. What is written here has a CRC-32 of every array in
its metadata, and they are verified when it is read.
"""

from collections.abc import Callable, Mapping
import json
import operator
import os
import re
from typing import Any
import zlib

import ml_dtypes
import numpy as np

from vit_jax.errors import CheckpointError
from vit_jax.weights.formats.atomic import atomic_write
from vit_jax.weights.formats.checksum import digest
from vit_jax.weights.formats.detect import detect_format
from vit_jax.weights.formats.json_object import MAX_BYTES, parse_object
from vit_jax.weights.formats.raw_arrays import (
  Span,
  check_names,
  nbytes,
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
# The key of our checksums in the metadata: JSON of hexadecimal digits by name,
# and among them that of the header itself.
_CRCS, _HEADER = "vit_jax.crc32", "__header__"
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


def safetensors_digest(path: str | os.PathLike) -> str | None:
  """Returns the digest of all arrays, see `checksum.digest`.

  None for a file without checksums. Raises as `read_safetensors`.
  """
  spans, _, _ = _read_header(path)
  crcs = {name: span.crc for name, span in spans.items()
          if span.crc is not None}
  return digest(crcs) if crcs else None


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
      if size > MAX_BYTES or 8 + size > size_of_file:
        raise ValueError(f"a header of {size:,} bytes")
      header = parse_object(file.read(size))
    metadata = header.pop("__metadata__", {})
    if not all(isinstance(text, str) for text in dict(metadata).values()):
      raise ValueError("__metadata__ is not texts by texts")
    crcs = parse_object(metadata.pop(_CRCS, "{}"))
    check_names(path, list(header))
    # Under a damaged name, they would go unused.
    misnamed = not crcs and any(_HEADER in x for x in metadata.values())
    if misnamed or (crcs and crcs != _crcs(header, metadata, crcs)):
      raise ValueError("its header is not what was written (checksum)")
    spans, kinds, ranges = {}, {}, []
    for name, entry in header.items():
      kind, shape = entry["dtype"], tuple(entry["shape"])
      begin, end = map(operator.index, entry["data_offsets"])
      if not all(isinstance(x, int) and x >= 0 for x in (*shape, begin, end)):
        raise ValueError(f"{name}: shape {entry['shape']} at {begin}:{end}")
      ranges.append((begin, end, name))
      kinds[name] = str(kind)
      if kind in _DTYPES:
        crc = int(crcs[name], 16) if crcs else None
        span = Span(8 + size + begin, _DTYPES[kind], shape, crc=crc)
        if nbytes(shape, span.dtype) != end - begin:
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
  about = {"format": "pt"} | dict(metadata or {})
  header: dict[str, Any] = {}
  offset = 0
  for name, array in arrays.items():
    header[name] = {
        "dtype": _NAMES[array.dtype], "shape": list(array.shape),
        "data_offsets": [offset, offset + array.nbytes]}
    offset += array.nbytes
  crcs = {name: f"{zlib.crc32(_bytes_of(array)):08x}"
          for name, array in arrays.items()}
  about[_CRCS] = json.dumps(_crcs(header, about, crcs))
  text = json.dumps(
      {"__metadata__": about} | header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)  # the arrays begin at a multiple of 8
  with atomic_write(path) as file:
    file.write(len(text).to_bytes(8, "little") + text)
    for array in arrays.values():
      file.write(_bytes_of(array))


def _crcs(
    header: Mapping[str, Any], metadata: Mapping[str, str],
    crcs: Mapping[str, str],
) -> dict[str, str]:
  """Returns the checksums of arrays, and one of everything else in a header.

  Args:
    header: entries of the arrays.
    metadata: without the checksums.
    crcs: of the arrays, by name; others are left out.
  """
  text = json.dumps([header, metadata], sort_keys=True)
  return {name: crcs.get(name, "") for name in header} | {
      _HEADER: f"{zlib.crc32(text.encode()):08x}"}


def _bytes_of(array: np.ndarray) -> memoryview:
  """Returns an array's bytes in C order."""
  return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data

"""The .npz container: raw arrays in, raw arrays out, trees and flat names.

`read` returns what the file holds under its own names; `normalise` (module
dialects) turns any dialect into the model's names; `save` writes a tree.
"""

from collections.abc import Callable, Mapping
import os
import struct
from typing import Any, BinaryIO
import zipfile
import zlib

import ml_dtypes
import numpy as np

from vit_jax.errors import CheckpointError
from vit_jax.weights.formats import detect
from vit_jax.weights.formats.raw import (
  Span,
  atomic_write,
  listed,
  read_spans,
  refuse_non_finite,
  sha256,
)
from vit_jax.weights.names import flax
from vit_jax.weights.names.flax import normalise

__all__ = ["flatten", "normalise", "read", "save", "sha256", "unflatten"]

_AGAIN = "get or write the file again"
# What zipfile raises on bytes that are no longer what was written.
_DAMAGE = (zipfile.BadZipFile, EOFError, OSError, RuntimeError, zlib.error)


def read(
    path: str | os.PathLike, keep: Callable[[list[str]], list[str]] = list
) -> dict[str, np.ndarray]:
  """Reads the arrays of an .npz file under the names that the file uses.

  Stored arrays (numpy.savez) are read straight into memory, some at a time;
  compressed ones through numpy. bfloat16, which numpy reads as raw pairs of
  bytes, comes back as bfloat16.

  Args:
    path: the file.
    keep: chooses names among those in the file; the others are not read.

  Raises:
    CheckpointError: the file is no .npz, is damaged, holds pickled objects, or
      an array holds NaN or infinity. Pickles are never opened.
  """
  if detect.kind(path) != "npz":
    raise CheckpointError(f"{path}: a .safetensors file, not .npz")
  try:
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
      members = _members(path, archive)
      spans, rest = {}, {}
      for name in keep(list(members)):
        found = _locate(path, file, archive, members[name])
        if isinstance(found, Span):
          spans[name] = found
        else:
          rest[name] = found
  except _DAMAGE as error:
    size = os.path.getsize(path)
    raise CheckpointError(
        f"{path}: a truncated or damaged .npz ({size:,} bytes, {error}); "
        f"{_AGAIN}") from None
  refuse_non_finite(path, rest)
  arrays = read_spans(path, spans) | rest
  return {name: arrays[name] for name in members if name in arrays}


def save(
    path: str | os.PathLike, params: Mapping[str, Any], *,
    dialect: str = "released",
) -> None:
  """Writes parameters as float32, atomically, names sorted.

  Equal parameters give equal bytes.

  Args:
    path: the file to write; it appears only when it is whole.
    params: a tree or flat dictionary with the model's names, blocks stacked
      or not, numpy or device arrays.
    dialect: "released" (what the official and timm loaders read), "linen" or
      "big_vision".

  Raises:
    CheckpointError: unknown dialect, or NaN or infinity in the parameters.
  """
  flat = {name: np.asarray(a) for name, a in flatten(params).items()}
  flat = flax.encode(flax.unstack(flat), dialect)
  refuse_non_finite(path, flat)
  with atomic_write(path) as file:
    # Transposed views would be written in Fortran order: other bytes.
    np.savez(file, **{n: np.asarray(flat[n], order="C") for n in sorted(flat)})


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Returns {"a/b": leaf} of a tree {"a": {"b": leaf}}."""
  flat = {}
  for name, value in tree.items():
    if isinstance(value, Mapping):
      flat |= flatten(value, f"{prefix}{name}/")
    else:
      flat[prefix + name] = value
  return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the tree {"a": {"b": leaf}} of {"a/b": leaf}."""
  tree = {}
  for name, leaf in flat.items():
    *parents, last = name.split("/")
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
    node[last] = leaf
  return tree


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
        f"{path}: a zip with other files than arrays ({listed(foreign)}); "
        "give a file written by numpy.savez")
  return {info.filename[:-4]: info for info in archive.infolist()}


def _locate(
    path: str | os.PathLike, file: BinaryIO,
    archive: zipfile.ZipFile, info: zipfile.ZipInfo,
) -> Span | np.ndarray:
  """Returns where an array lies; the array itself if it is compressed."""
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
    member: BinaryIO
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

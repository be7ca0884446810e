"""From one weights file to another: .npz dialects, and timm's .safetensors."""

from collections.abc import Mapping
import json
import os
import pathlib
from typing import Any

from vit_jax.errors import UsageError, suggest
from vit_jax.weights import dialects, files, metadata, npz, safetensors, timm

_DIALECTS = {".npz": dialects.NAMES, ".safetensors": ("timm",)}


def convert(
    src: str | os.PathLike | files.WeightsFile,
    dst: str | os.PathLike,
    dialect: str | None = None,
    *,
    num_heads: int | None = None,
) -> str:
  """Writes the weights of `src` to `dst`, and their description beside it.

  The kind of `dst` follows from its suffix, .npz or .safetensors. The .json
  beside it carries on what `src` says of itself, and what the other layout
  cannot show: the form of GELU, the number of heads.

  Args:
    src: any file that `files.read` reads, or what it returned.
    dst: the file to write; it appears only when it is whole.
    dialect: "released", "linen" or "big_vision" for .npz, "timm" for
      .safetensors; None keeps the dialect of `src` where `dst` can have it,
      else takes the first of these.
    num_heads: for files with timm's names that say nothing of it.

  Returns:
    The dialect written.

  Raises:
    UsageError: unknown suffix or dialect.
    CheckpointError: `src` cannot be read.
  """
  suffix = pathlib.Path(dst).suffix
  if suffix not in _DIALECTS:
    raise UsageError(
        f"{os.fspath(dst)}: the suffix says what to write: "
        f"{' or '.join(_DIALECTS)} was expected")
  known = _DIALECTS[suffix]
  if dialect is not None and dialect not in known:
    raise UsageError(
        f"dialect {dialect!r} is unknown for {suffix}"
        f"{suggest(dialect, known)}; it is one of {', '.join(known)}")
  file = (src if isinstance(src, files.WeightsFile)
          else files.read(src, num_heads=num_heads))
  if dialect is None:
    dialect = file.dialect.split()[0]
    dialect = dialect if dialect in known else known[0]
  said = file.metadata | {
      "architecture": file.architecture, "image_size": file.image_size}
  write(dst, file.flat, said, dialect)
  return dialect


def write(
    path: str | os.PathLike,
    params: Mapping[str, Any],
    said: Mapping[str, Any],
    dialect: str = "released",
) -> None:
  """Writes parameters, and their description beside them.

  Args:
    path: the file to write.
    params: a tree or flat dictionary with the model's names.
    said: the keys of `metadata`.
    dialect: "timm" for a .safetensors file, else one of .npz.
  """
  if dialect == "timm":
    flat = dialects.encode(dialects.unstack(npz.flatten(params)), "linen")
    safetensors.save(path, timm.encode(flat),
                     {files.EMBEDDED: json.dumps(said)})
  else:
    npz.save(path, params, dialect=dialect)
  metadata.write(path, said)

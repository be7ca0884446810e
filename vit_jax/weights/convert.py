"""From one weights file to another: .npz dialects, timm, transformers."""

from collections.abc import Mapping
import json
import os
import pathlib
from typing import Any

from absl import logging

from vit_jax.errors import CheckpointError, UsageError, suggest
from vit_jax.weights import model_json, read
from vit_jax.weights.formats import npz, safetensors
from vit_jax.weights.names import bit, flax, hugging_face, timm, torch_export

_DIALECTS = {".npz": flax.NAMES, ".safetensors": ("timm", "hugging_face")}
_DEFAULTS = {"ln_eps": 1e-6, "stem_eps": "released", "gelu": "tanh"}


def convert(
    src: str | os.PathLike | read.WeightsFile,
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
    dialect: "released", "linen" or "big_vision" for .npz, "timm" or
      "hugging_face" for .safetensors; None keeps the dialect of `src` where
      `dst` can have it, else takes the first of these.
    num_heads: for files of timm or transformers that say nothing of it.

  Returns:
    The dialect written.

  Raises:
    UsageError: unknown suffix or dialect, or a config.json that belongs to
      something else lies where one has to be written.
    CheckpointError: `src` cannot be read, or `dialect` has no place for a
      parameter.
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
  file = (src if isinstance(src, read.WeightsFile)
          else read.read(src, num_heads=num_heads))
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

  For timm and transformers that includes their own config.json, where `said`
  has the whole architecture. A hybrid's kernels are written to timm so that
  its epsilons give the same network (`timm.for_timms_stem`).

  Args:
    path: the file to write; transformers and timm look for
      "model.safetensors" in a folder.
    params: a tree or flat dictionary with the model's names.
    said: the keys of `metadata`.
    dialect: "timm" or "hugging_face" for a .safetensors file, else one of
      .npz.
  """
  if dialect not in _DIALECTS[".safetensors"]:
    npz.save(path, params, dialect=dialect)
    model_json.write(path, said)
    return
  flat = flax.encode(flax.unstack(npz.flatten(params)), "linen")
  if bit.matches(flat):
    raise CheckpointError(
        f"a ResNet has no names in {dialect}'s layout here; write an .npz with "
        "--dialect=released, which timm's load_pretrained reads")
  arch = _DEFAULTS | dict(said.get("architecture") or {})
  is_complete = "width" in arch and said.get("image_size")
  if dialect == "hugging_face":
    torch_export.check_folder(path, dialect)
    theirs = hugging_face.encode(flat)
  else:
    if "conv_root/kernel" in flat and arch["stem_eps"] == "released":
      flat = timm.for_timms_stem(flat)
      arch["stem_eps"] = "timm"
    if arch["ln_eps"] != 1e-6:
      logging.warning(
          "timm's LayerNorm has eps 1e-6, this model %g: make timm's with "
          "norm_layer=partial(LayerNorm, eps=%g)",
          arch["ln_eps"], arch["ln_eps"])
    theirs = timm.encode(flat)
  said = dict(said) | {"architecture": arch}
  safetensors.save(path, theirs, {read.EMBEDDED: json.dumps(said)})
  model_json.write(path, said)
  if is_complete:
    torch_export.write(path, dialect, said)

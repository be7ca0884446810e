"""From one weights file to another, in any dialect."""

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
from typing import Any

import numpy as np

from vit_jax.errors import UsageError
from vit_jax.weights import adapt, model_json, read, trees
from vit_jax.weights import description as description_lib
from vit_jax.weights.formats.atomic import atomic_write
from vit_jax.weights.formats.npz import write_npz
from vit_jax.weights.formats.safetensors import write_safetensors
from vit_jax.weights.names.codecs import CODECS, codec_named

_ANY_SIZE = (256, 256)  # for networks whose arrays belong to none
_CONTAINERS = {".npz": "npz", ".safetensors": "safetensors"}


def convert(
    src: str | os.PathLike | read.WeightsFile,
    dst: str | os.PathLike,
    dialect: str | None = None,
    *,
    head: str = "keep",
    num_heads: int | None = None,
    posemb: str | None = None,
    old_grid: tuple[int, int] | None = None,
) -> str:
  """Writes the weights of `src` to `dst`, and their description beside it.

  The kind of `dst` follows from its suffix, .npz or .safetensors. The .json
  beside it contains the description of `src`, and what the arrays cannot show:
  the form of GELU, the number of heads.

  Args:
    src: any file that `read_weights` reads, or what it returned.
    dst: the file to write; it appears only when it is whole.
    dialect: a dialect of `names.codecs` that is written to such a file; None
      keeps the dialect of `src` where `dst` can have it, else takes the first.
    head: "keep" or "drop" the head.
    num_heads, posemb, old_grid: for files whose arrays and description do not
      show it, see `read_weights`.

  Returns:
    The dialect written.

  Raises:
    UsageError: unknown suffix, dialect or `head`, or a config.json that belongs
      to something else lies where one has to be written.
    CheckpointError: `src` cannot be read, has arrays of no network of this
      package, or `dialect` has no place for a parameter.
  """
  choose_dialect(dst, dialect, "")  # before anything large is read
  if head not in ("keep", "drop"):
    raise UsageError(f"head={head!r} is unknown; it is 'keep' or 'drop'")
  file = (src if isinstance(src, read.WeightsFile)
          else read.read_weights(
              src, num_heads=num_heads, posemb=posemb, old_grid=old_grid))
  # A file that no network fits is not passed on under another name.
  adapt.refuse_what_no_network_has(
      file.flat, file.model(), file.image_size or _ANY_SIZE, file.source)
  if head == "drop":
    file = _without_head(file)
  dialect = choose_dialect(dst, dialect, file.dialect.split()[0])
  description = file.metadata | {
      "architecture": file.architecture, "image_size": file.image_size}
  write_weights(dst, file.flat, description, dialect)
  return dialect


def _without_head(file: read.WeightsFile) -> read.WeightsFile:
  """Returns the file as that of a network that returns features."""
  return dataclasses.replace(
      file,
      flat={name: array for name, array in file.flat.items()
            if not name.startswith("head/")},
      architecture=file.architecture | {"num_classes": 0},
      metadata={key: value for key, value in file.metadata.items()
                if key not in ("class_names", "scores")})


def choose_dialect(
    path: str | os.PathLike, dialect: str | None, kept: str
) -> str:
  """Returns the dialect that a file is written in.

  Args:
    path: of the file; its suffix says what kind it is.
    dialect: the one that is asked for, or None.
    kept: the one that is taken then, if such a file can have it; else the
      first that it can.

  Raises:
    UsageError: unknown suffix or dialect.
  """
  container = _CONTAINERS.get(pathlib.Path(path).suffix)
  if container is None:
    raise UsageError(
        f"{os.fspath(path)}: the suffix decides what is written: "
        f"{' or '.join(_CONTAINERS)} was expected")
  if dialect is not None:
    return codec_named(dialect, container).name
  known = [codec.name for codec in CODECS
           if codec.container == container and not codec.read_only]
  return kept if kept in known else known[0]


def write_weights(
    path: str | os.PathLike,
    params: Mapping[str, Any],
    description: Mapping[str, Any],
    dialect: str = "released",
) -> None:
  """Writes parameters, and their description beside them.

  That includes the config files of the dialect's own library, if `description`
  has the whole architecture and the image size.

  Args:
    path: the file to write, a .safetensors or .npz as the dialect wants it;
      transformers and timm look for "model.safetensors" in a folder.
    params: a tree or flat dictionary with the model's names, blocks stacked or
      not, numpy or device arrays; written as float32.
    description: keys of model.json.
    dialect: the name of a dialect of `names.codecs`.

  Raises:
    CheckpointError: the dialect has no place for a parameter, or parameters
      are NaN or infinite.
    UsageError: unknown dialect, or a config file of something else is in the
      way.
  """
  codec = codec_named(dialect)
  flat = {name: np.asarray(array, np.float32) for name, array
          in trees.unstack_blocks(trees.flatten(params)).items()}
  arrays, architecture = codec.encode(
      flat, description.get("architecture") or {})
  if architecture:
    description = {**description, "architecture": architecture}
  config_files = codec.config_files(path, description)
  # That of the file it was read from.
  description = {k: v for k, v in description.items() if k != "digest"}
  if codec.container == "npz":
    write_npz(path, arrays, description_lib.embed({
        key: description[key] for key in ("architecture", "image_size")
        if description.get(key)}))
  else:
    write_safetensors(
        path, arrays, {description_lib.EMBEDDED: json.dumps(description)})
  digest = read.digest_of(path)
  model_json.write_model_json(path, {**description, "digest": digest})
  for name, content in config_files.items():
    with atomic_write(pathlib.Path(path).parent / name) as file:
      text = json.dumps(content, indent=2, ensure_ascii=False)
      file.write(text.encode() + b"\n")

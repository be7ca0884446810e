"""Reads a weights file of any kind: arrays, architecture and description."""

from collections.abc import Mapping
import dataclasses
import json
import os
from typing import Any
import zlib

import numpy as np

from vit_jax.errors import CheckpointError
from vit_jax.models.network import Network
from vit_jax.models.posemb import WITHOUT_ARRAYS
from vit_jax.weights import architecture, model_json, posemb_grid
from vit_jax.weights.formats.detect import detect_format
from vit_jax.weights.formats.npz import npz_digest, read_note, read_npz
from vit_jax.weights.formats.safetensors import (
  read_safetensors,
  safetensors_digest,
)
from vit_jax.weights.names.codec import Codec, FileConfig
from vit_jax.weights.names.codecs import recognise
from vit_jax.weights.names.pixel_statistics import absorb_pixel_statistics

# The key of our description inside the file itself: in the metadata of a
# .safetensors file, in the comment of an .npz file.
EMBEDDED = "vit_jax"
_CRC = "crc32 of the description"


@dataclasses.dataclass(frozen=True)
class WeightsFile:
  """The content of a weights file.

  Attributes:
    source: its path, for messages.
    flat: parameters under the model's names, float32, one entry for each block.
    architecture: keyword arguments of the network, VisionTransformer or
      BiTResNet.
    image_size: (height, width) in pixels of the images it was trained on;
      None where neither the arrays nor a description show it.
    dialect: the layout of the file, see `Codec.decode`.
    metadata: the description beside (or inside) the file, or that of the
      dialect's own library; {} if there is none.
  """

  source: str
  flat: dict[str, np.ndarray]
  architecture: dict[str, Any]
  image_size: tuple[int, int] | None
  dialect: str
  metadata: dict[str, Any]

  def model(self, **changes: Any) -> Network:
    """Returns the model of the file, with some attributes replaced."""
    return architecture.build_network(self.architecture, **changes)

  def grid(self) -> tuple[int, int] | None:
    """Returns the token grid of the file's position embedding."""
    return self.image_size and self.model().grid(self.image_size)


def read_weights(
    path: str | os.PathLike,
    *,
    num_heads: int | None = None,
    old_grid: tuple[int, int] | None = None,
    posemb: str | None = None,
) -> WeightsFile:
  """Reads an .npz or .safetensors file and its description.

  Args:
    path: the file; its kind is detected by its first bytes.
    num_heads: for files whose arrays and description do not show it.
    old_grid: (rows, columns) of the position embedding, where it is not
      square and no description has the size.
    posemb: the kind of position embedding, where neither the arrays nor a
      description show it: "none", or one without parameters.

  Raises:
    CheckpointError: the file is of another kind or damaged, is not a ViT, its
      description and its arrays contradict each other, or nothing shows its
      kind of position embedding.
  """
  source = os.fspath(path)
  arrays, embedded = _read_arrays(path)
  _refuse_other_arrays(path)
  codec = recognise(arrays, source)
  config = dataclasses.replace(
      _read_config(path, codec, arrays, embedded), num_heads=num_heads)
  flat, dialect = codec.decode(arrays, config)
  _refuse_torn_layers(flat, source)
  flat = absorb_pixel_statistics(flat, config.mean, config.std, source)
  inferred, image_size = architecture.infer_architecture(
      flat, config.image_size, old_grid, source)
  stated = {**codec.unseen, **config.architecture}
  if inferred.get("posemb") == "none" and not stated.get("posemb"):
    stated["posemb"] = _named_posemb(posemb, source)
  whole = architecture.add_unseen(inferred, stated)
  file = WeightsFile(
      source, flat, whole, image_size, dialect, config.metadata)
  _refuse_contradictions(file, inferred, config.described_in)
  return file


def _read_arrays(
    path: str | os.PathLike
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Returns the arrays of the network, and the metadata of the container."""
  def select(names: list[str]) -> list[str]:
    return recognise(names, os.fspath(path)).select(names, os.fspath(path))

  if detect_format(path) == "npz":
    return read_npz(path, select), _embedded(read_note(path), path)
  return read_safetensors(path, select)


def embed(description: Mapping[str, Any]) -> str:
  """Returns the comment of an .npz file that has a description."""
  return json.dumps({EMBEDDED: description, _CRC: _crc_of(description)})


def _crc_of(description: Mapping[str, Any]) -> str:
  """Returns the checksum of a description."""
  text = json.dumps(description, sort_keys=True)
  return f"{zlib.crc32(text.encode()):08x}"


def _embedded(note: str, path: str | os.PathLike) -> dict[str, str]:
  """Returns the description in the comment of an .npz file, if it is ours.

  Raises:
    CheckpointError: it is not what was written.
  """
  if EMBEDDED not in note and _CRC not in note:
    return {}
  try:
    content = json.loads(note)
    description = content[EMBEDDED]
    # Earlier versions wrote no checksum, and nothing else either.
    if set(content) == {EMBEDDED} or (
        content[_CRC] == _crc_of(description)):
      return {EMBEDDED: json.dumps(description)}
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
    pass
  raise CheckpointError(
      f"{os.fspath(path)}: damaged: the description inside is not what was "
      "written; get or write the file again")


def _named_posemb(posemb: str | None, source: str) -> str:
  """Returns the position embedding that the caller names.

  Raises:
    CheckpointError: none is named, or one that has arrays.
  """
  if posemb not in WITHOUT_ARRAYS:
    kinds = ", ".join(map(repr, WITHOUT_ARRAYS))
    given = f"not {posemb!r}" if posemb else (
        "and no description says which kind it is")
    raise CheckpointError(
        f"{source}: its position embedding has no arrays, {given}; pass "
        f"posemb= one of {kinds} (--posemb on the command line), or put the "
        ".json that was written beside the file back there")
  return posemb


def _read_config(
    path: str | os.PathLike, codec: Codec, arrays: Mapping[str, np.ndarray],
    embedded: Mapping[str, str],
) -> FileConfig:
  """Returns our description of a file, else that of the dialect's library."""
  source = os.fspath(path)
  metadata = model_json.read_model_json(path)
  described_in = os.fspath(model_json.model_json_path(path))
  if not metadata and EMBEDDED in embedded:
    described_in = f"{source} ({EMBEDDED})"
    metadata = model_json.parse_model_json(embedded[EMBEDDED], described_in)
  if metadata:
    return FileConfig(source, described_in, metadata)
  return codec.read_config(path, arrays)


def digest_of(path: str | os.PathLike) -> str | None:
  """Returns what identifies a file's arrays; None where it has no checksums."""
  if detect_format(path) == "npz":
    return npz_digest(path)
  return safetensors_digest(path)


def _refuse_other_arrays(path: str | os.PathLike) -> None:
  """Raises CheckpointError if the description was written with other arrays."""
  written = model_json.read_model_json(path).get("digest")
  if written is None:
    return
  found = digest_of(path)
  # A .safetensors that others wrote over ours keeps no checksums.
  if found != written:
    raise CheckpointError(
        f"{model_json.model_json_path(path)} was written with other arrays "
        f"than those of {os.fspath(path)} (another digest): one of the two was "
        "replaced; bring both back, or remove the .json if the weights are "
        "right without it")


def _refuse_torn_layers(
    flat: Mapping[str, np.ndarray], source: str
) -> None:
  """Raises CheckpointError where half of a layer that may be absent is.

  Without it, the other half would be taken for a file without that layer.
  """
  for layer in ("head", "pre_logits"):
    halves = [f"{layer}/{half}" for half in ("kernel", "bias")]
    missing = [name for name in halves if name not in flat]
    if len(missing) == 1:
      there = next(name for name in halves if name in flat)
      raise CheckpointError(
          f"{source}: {there} is there and {missing[0]} is missing; get or "
          "write the file again")


def _refuse_contradictions(
    file: WeightsFile, inferred: Mapping[str, Any], described_in: str
) -> None:
  """Raises CheckpointError where a description and the arrays differ."""
  described = file.metadata
  wrong = architecture.contradictions(
      described.get("architecture") or {}, inferred)
  names = described.get("class_names")
  if names and len(names) != inferred["num_classes"]:
    wrong.append(f"class_names are {len(names)}, but "
                 f"{inferred['num_classes']} in the arrays")
  patches, grid = posemb_grid.num_patches(file.flat), file.grid()
  if not wrong and described.get("image_size") and grid:
    rows, cols = grid
    if patches not in (None, rows * cols):
      wrong.append(f"image_size is {list(file.image_size or ())}, which is "
                   f"{rows}x{cols} patches, but {patches} in the arrays")
  if wrong:
    raise CheckpointError(
        f"{described_in} contradicts the arrays of {file.source}: "
        f"{'; '.join(wrong)}; one of the two belongs to another model: move "
        "the .json away or correct it")

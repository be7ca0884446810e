"""Reads a weights file of any kind: arrays, architecture and description."""

import dataclasses
import os
from typing import Any

import numpy as np

from vit_jax.errors import CheckpointError
from vit_jax.models.network import Network
from vit_jax.weights import architecture, model_json, posemb_grid
from vit_jax.weights.formats import detect, npz, safetensors
from vit_jax.weights.names import (
  flax,
  hugging_face,
  pixel_statistics,
  timm,
  torch_config,
)

# The key of our description inside a .safetensors file's own metadata.
EMBEDDED = "vit_jax"
_WORLDS = {"timm": timm, "hugging_face": hugging_face}
# What the code of other packages does and their arrays do not show.
_UNSEEN = {
    "timm": {"gelu": "erf", "stem_eps": "timm"},
    "hugging_face": {"gelu": "erf", "ln_eps": 1e-12}}


@dataclasses.dataclass(frozen=True)
class WeightsFile:
  """What a file holds.

  Attributes:
    source: its path, for messages.
    flat: parameters under the model's names, float32, one entry a block.
    architecture: keyword arguments of the network.
    image_size: (height, width) in pixels of the pictures it was trained on;
      None where neither the arrays nor a description say.
    dialect: the layout of the file, see `dialects.normalise`, or "timm" or
      "hugging_face".
    metadata: the description beside (or inside) the file, or what the
      config.json of timm and transformers says; {} if none.
  """

  source: str
  flat: dict[str, np.ndarray]
  architecture: dict[str, Any]
  image_size: tuple[int, int] | None
  dialect: str
  metadata: dict[str, Any]

  def model(self, **changes: Any) -> Network:
    """Returns the model of the file, with some attributes replaced."""
    return architecture.build(self.architecture, **changes)

  def grid(self) -> tuple[int, int] | None:
    """Returns the token grid of the file's position embedding."""
    return self.image_size and self.model().grid(self.image_size)


def read(
    path: str | os.PathLike,
    *,
    num_heads: int | None = None,
    old_grid: tuple[int, int] | None = None,
) -> WeightsFile:
  """Reads an .npz or .safetensors file and its description.

  Args:
    path: the file; its kind is seen by its first bytes.
    num_heads: for files of timm or transformers that say nothing of it.
    old_grid: (rows, columns) of the position embedding, where it is not
      square and nothing else says it.

  Raises:
    CheckpointError: the file is of another kind or damaged, holds no ViT, or
      its description and its arrays contradict each other.
  """
  source = os.fspath(path)
  described = str(model_json.path_of(path))
  if detect.kind(path) == "npz":
    said = model_json.read(path)
    flat = npz.read(
        path, keep=lambda names: flax.parameter_names(names, source))
    flat, dialect = flax.normalise(flat, source)
  else:
    flat, said, dialect, described = _read_safetensors(path, num_heads)
  size = tuple(said["image_size"]) if said.get("image_size") else None
  found = architecture.infer(flat, size, old_grid, source)
  size = found.pop("image_size")
  unseen = _UNSEEN.get(dialect, {"gelu": "tanh"}) | (
      said.get("architecture") or {})
  file = WeightsFile(
      source, flat, architecture.complete(found, unseen), size, dialect, said)
  _refuse_contradictions(file, found, described)
  return file


def _refuse_contradictions(
    file: WeightsFile, found: dict[str, Any], described: str
) -> None:
  """Raises CheckpointError where a description and the arrays differ."""
  said = file.metadata
  wrong = architecture.contradictions(said.get("architecture") or {}, found)
  names = said.get("class_names")
  if names and len(names) != found["num_classes"]:
    wrong.append(
        f"class_names: {len(names)} said, {found['num_classes']} found")
  patches = posemb_grid.count(file.flat)
  if not wrong and said.get("image_size") and patches is not None:
    rows, cols = file.grid()
    if rows * cols != patches:
      wrong.append(f"image_size: {list(file.image_size)}, a grid of "
                   f"{rows}x{cols}, said, {patches} patches found")
  if wrong:
    raise CheckpointError(
        f"{described} contradicts the arrays of {file.source}: "
        f"{'; '.join(wrong)}; one of the two belongs to another model: move "
        "the .json away or mend it")


def _read_safetensors(
    path: str | os.PathLike, num_heads: int | None
) -> tuple[dict[str, np.ndarray], dict[str, Any], str, str]:
  """Returns parameters, description, dialect, and who describes them."""
  source = os.fspath(path)
  theirs, inside = safetensors.read(path)
  said, described = model_json.read(path), str(model_json.path_of(path))
  if not said and EMBEDDED in inside:
    described = f"{source} ({EMBEDDED})"
    said = model_json.parse(inside[EMBEDDED], described)
  world = next((name for name, names in _WORLDS.items()
                if names.matches(theirs)), None)
  if world is None:
    flat, dialect = flax.normalise(theirs, source)
    return flat, said, dialect, described
  elsewhere = not said  # written by timm or transformers, not by us
  pixels = None
  if elsewhere:
    pixels = torch_config.read(path, world)
    said, described = pixels.metadata, str(pixels.path or source)
  heads = num_heads or (said.get("architecture") or {}).get("num_heads")
  heads = heads or timm.heads_of_width(_WORLDS[world].width(theirs), source)
  try:
    flat = _WORLDS[world].decode(theirs, heads, source)
  except ValueError as error:
    raise CheckpointError(
        f"{source}: its arrays are not those of a {world} ViT with {heads} "
        f"heads ({error}); say num_heads=") from None
  if elsewhere and flax.POSEMB in flat and world == "timm":
    # Made elsewhere: timm's no_embed_class leaves the class token's row out.
    flat["Transformer/pos_embedding"] = flat.pop(flax.POSEMB)
  flat = flax.normalise(flat, source)[0]
  if elsewhere:
    flat = pixel_statistics.fold(flat, pixels.mean, pixels.std, source)
  return flat, said, world, described

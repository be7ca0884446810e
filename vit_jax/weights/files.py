"""Reads a weights file of any kind: arrays, architecture and description."""

import dataclasses
import os
from typing import Any

import numpy as np

from vit_jax.errors import CheckpointError
from vit_jax.models.vit import VisionTransformer
from vit_jax.weights import (
    architecture,
    dialects,
    metadata,
    npz,
    positions,
    safetensors,
    sniff,
    timm,
)

# The key of our description inside a .safetensors file's own metadata.
EMBEDDED = "vit_jax"


@dataclasses.dataclass(frozen=True)
class WeightsFile:
  """What a file holds.

  Attributes:
    source: its path, for messages.
    flat: parameters under the model's names, float32, one entry a block.
    architecture: keyword arguments of VisionTransformer.
    image_size: (height, width) in pixels of the pictures it was trained on;
      None where neither the arrays nor a description say.
    dialect: the layout of the file, see `dialects.normalise`, or "timm".
    metadata: the description beside (or inside) the file; {} if none.
  """

  source: str
  flat: dict[str, np.ndarray]
  architecture: dict[str, Any]
  image_size: tuple[int, int] | None
  dialect: str
  metadata: dict[str, Any]

  def model(self, **changes: Any) -> VisionTransformer:
    """Returns the model of the file, with some attributes replaced."""
    return VisionTransformer(**(self.architecture | changes))

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
    num_heads: for files with timm's names that say nothing of it.
    old_grid: (rows, columns) of the position embedding, where it is not
      square and nothing else says it.

  Raises:
    CheckpointError: the file is of another kind or damaged, holds no ViT, or
      its description and its arrays contradict each other.
  """
  source = os.fspath(path)
  if sniff.kind(path) == "npz":
    said = metadata.read(path)
    flat = npz.read(
        path, keep=lambda names: dialects.parameter_names(names, source))
    flat, dialect = dialects.normalise(flat, source)
    gelu = "tanh"
  else:
    flat, said, dialect = _read_safetensors(path, num_heads)
    gelu = "erf" if dialect == "timm" else "tanh"
  size = tuple(said["image_size"]) if said.get("image_size") else None
  found = architecture.infer(flat, size, old_grid, source)
  size = found.pop("image_size")
  described = said.get("architecture") or {}
  kept = {k: described[k] for k in architecture.UNSEEN if k in described}
  file = WeightsFile(
      source, flat, found | {"gelu": gelu} | kept, size, dialect, said)
  _refuse_contradictions(file, found)
  return file


def _refuse_contradictions(
    file: WeightsFile, found: dict[str, Any]
) -> None:
  """Raises CheckpointError where description and arrays differ."""
  said = file.metadata
  wrong = architecture.contradictions(said.get("architecture") or {}, found)
  names = said.get("class_names")
  if names and len(names) != found["num_classes"]:
    wrong.append(
        f"class_names: {len(names)} said, {found['num_classes']} found")
  patches = positions.count(file.flat)
  if not wrong and said.get("image_size") and patches is not None:
    rows, cols = file.grid()
    if rows * cols != patches:
      wrong.append(f"image_size: {list(file.image_size)}, a grid of "
                   f"{rows}x{cols}, said, {patches} patches found")
  if wrong:
    raise CheckpointError(
        f"{metadata.path_of(file.source)} contradicts the arrays of "
        f"{file.source}: {'; '.join(wrong)}; one of the two belongs to "
        "another model: move the .json away or mend it")


def _read_safetensors(
    path: str | os.PathLike, num_heads: int | None
) -> tuple[dict[str, np.ndarray], dict[str, Any], str]:
  """Returns parameters, description and dialect of a .safetensors file."""
  source = os.fspath(path)
  theirs, inside = safetensors.read(path)
  said = metadata.read(path)
  if not said and EMBEDDED in inside:
    said = metadata.parse(inside[EMBEDDED], f"{source} ({EMBEDDED})")
  if not timm.matches(theirs):
    flat, dialect = dialects.normalise(theirs, source)
    return flat, said, dialect
  heads = num_heads or (said.get("architecture") or {}).get("num_heads")
  width = theirs["patch_embed.proj.weight"].shape[0]
  heads = heads or timm.heads_of_width(width, source)
  try:
    flat = timm.decode(theirs, heads, source)
  except ValueError as error:
    raise CheckpointError(
        f"{source}: its arrays are not those of a timm ViT with {heads} heads "
        f"({error}); say num_heads=") from None
  if not said and dialects.POSEMB in flat:
    # Made elsewhere: timm's no_embed_class leaves the class token's row out.
    flat["Transformer/pos_embedding"] = flat.pop(dialects.POSEMB)
  return dialects.normalise(flat, source)[0], said, "timm"

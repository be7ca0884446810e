"""Finds position embeddings among parameters, and the grid they belong to.

The names are those of `vit_jax.models.posemb`: tables that are added lie under
posembed_input, of the encoder or of every block; relative ones in the
attention of every block. Fixed and absent embeddings leave no trace.
"""

from collections.abc import Mapping
import math

import numpy as np

from vit_jax.errors import CheckpointError

_TABLE = "posembed_input/pos_embedding"
_RELATIVE = "posembed_relative/pos_embedding"


def tables(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the tables that are added to tokens: (1, rows, width)."""
  return {name: array for name, array in flat.items()
          if name.removesuffix("_x").removesuffix("_y").endswith(_TABLE)}


def kind(flat: Mapping[str, np.ndarray]) -> tuple[str, str]:
  """Returns `posemb` and `posemb_at` as far as names tell them."""
  for name in tables(flat):
    place = "stem" if name.startswith(f"Transformer/{_TABLE}") else "layers"
    return ("1d" if name.endswith(_TABLE) else "2d"), place
  relative = any(name.endswith(_RELATIVE) for name in flat)
  return ("relative" if relative else "none"), "stem"


def count(flat: Mapping[str, np.ndarray]) -> int | None:
  """Returns how many patches the embedding is for; None where none tells."""
  sides = _sides(flat)
  if len(sides) == 2:
    return sides[0] * sides[1]
  for name, table in flat.items():
    if name.endswith(_TABLE):
      return (table.shape[1] if table.ndim == 3 else 0) - ("cls" in flat)
    if name.endswith(_RELATIVE):
      return (table.shape[0] + 1) // 2 - ("cls" in flat)
  return None


def grid(
    flat: Mapping[str, np.ndarray], source: str = "weights"
) -> tuple[int, int] | None:
  """Returns (rows, columns) of patches; None where no embedding tells.

  Raises:
    CheckpointError: only the number of patches can be seen, and it is no
      square; the grid has to be given.
  """
  sides = _sides(flat)
  if len(sides) == 2:
    return sides[0], sides[1]
  patches = count(flat)
  if patches is None:
    return None
  side = math.isqrt(max(patches, 0))
  if side == 0 or side * side != patches:
    raise CheckpointError(
        f"{source}: its position embedding is for {patches} patches, which is "
        "no square grid; say old_grid=(rows, columns), or image_size in the "
        ".json beside the file")
  return side, side


def _sides(flat: Mapping[str, np.ndarray]) -> list[int]:
  """Returns rows and columns where they have embeddings of their own."""
  sides = []
  for ending, axial in (("_y", "columns/"), ("_x", "rows/")):
    for name, table in flat.items():
      if name.endswith(_TABLE + ending) and table.ndim == 3:
        sides.append(table.shape[1])
        break
      if name.endswith(_RELATIVE) and axial in name:
        # One row an offset, from -(length - 1) to length - 1.
        sides.append((table.shape[0] + 1) // 2)
        break
  return sides

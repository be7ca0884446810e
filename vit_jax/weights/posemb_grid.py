"""Position embeddings among parameters, and the grid that they belong to.

The names are those of `vit_jax.models.posemb`: tables that are added lie under
posembed_input, of the encoder or of every block; relative ones in the
attention of every block. Fixed and absent embeddings leave no array.
"""

from collections.abc import Mapping
import math

import numpy as np

from vit_jax.errors import CheckpointError

_TABLE = "posembed_input/pos_embedding"
_RELATIVE = "posembed_relative/pos_embedding"
# The learned embedding of the released networks.
POSEMB = f"Transformer/{_TABLE}"


def posemb_tables(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the tables that are added to tokens: (1, rows, width)."""
  return {name: array for name, array in flat.items()
          if name.removesuffix("_x").removesuffix("_y").endswith(_TABLE)}


def posemb_kind(flat: Mapping[str, np.ndarray]) -> tuple[str, str]:
  """Returns `posemb` and `posemb_at`, as far as names show them."""
  for name in posemb_tables(flat):
    place = "stem" if name.startswith(f"Transformer/{_TABLE}") else "layers"
    return ("1d" if name.endswith(_TABLE) else "2d"), place
  relative = any(name.endswith(_RELATIVE) for name in flat)
  return ("relative" if relative else "none"), "stem"


def num_patches(flat: Mapping[str, np.ndarray]) -> int | None:
  """Returns how many patches the embedding is for; None if nothing shows it."""
  sides = _sides(flat)
  if len(sides) == 2:
    return sides[0] * sides[1]
  for name, table in flat.items():
    if name.endswith(_TABLE):
      return (table.shape[1] if table.ndim == 3 else 0) - ("cls" in flat)
    if name.endswith(_RELATIVE):
      return (table.shape[0] + 1) // 2 - ("cls" in flat)
  return None


def patch_grid(
    flat: Mapping[str, np.ndarray], source: str = "weights"
) -> tuple[int, int] | None:
  """Returns (rows, columns) of patches; None if no embedding shows them.

  Raises:
    CheckpointError: the arrays show only the number of patches, and it is not
      a square; the grid has to be given.
  """
  sides = _sides(flat)
  if len(sides) == 2:
    return sides[0], sides[1]
  patches = num_patches(flat)
  if patches is None:
    return None
  side = math.isqrt(max(patches, 0))
  if side == 0 or side * side != patches:
    raise CheckpointError(
        f"{source}: its position embedding is for {patches} patches, which is "
        "not a square grid; pass old_grid=(rows, columns), or write image_size "
        "into the .json beside the file")
  return side, side


def lacks_class_row(posemb: np.ndarray) -> bool:
  """Returns whether the rows of (1, rows, width) are those of a square grid."""
  rows = posemb.shape[1]
  return math.isqrt(rows) ** 2 == rows


def prepend_class_row(posemb: np.ndarray) -> np.ndarray:
  """Returns (1, 1 + rows, width): zeros for the class token come first."""
  return np.concatenate([np.zeros_like(posemb[:, :1]), posemb], axis=1)


def _sides(flat: Mapping[str, np.ndarray]) -> list[int]:
  """Returns rows and columns, where each has an embedding of its own."""
  sides = []
  for ending, axial in (("_y", "columns/"), ("_x", "rows/")):
    for name, table in flat.items():
      if name.endswith(_TABLE + ending) and table.ndim == 3:
        sides.append(table.shape[1])
        break
      if name.endswith(_RELATIVE) and axial in name:
        # One row for each offset, from -(length - 1) to length - 1.
        sides.append((table.shape[0] + 1) // 2)
        break
  return sides

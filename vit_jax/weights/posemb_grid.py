"""Position embeddings among parameters, and the grid that they belong to.

The names are those of `vit_jax.models.posemb`: tables that are added lie under
posembed_input, of the encoder or of every block; relative ones in the
attention of every block. Fixed and absent embeddings leave no array.
"""

from collections.abc import Mapping
import math
from typing import Any

from absl import logging
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
      return (table.shape[1] if table.ndim == 3 else 0) - num_prefix(flat)
    if name.endswith(_RELATIVE):
      return (table.shape[0] + 1) // 2 - num_prefix(flat)
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
  return _is_square(posemb.shape[1])


def _is_square(number: int) -> bool:
  return math.isqrt(number) ** 2 == number


def prepend_rows(posemb: np.ndarray, count: int) -> np.ndarray:
  """Returns (1, count + rows, width): zeros for other tokens come first."""
  return np.concatenate([np.zeros_like(posemb[:, :1])] * count + [posemb],
                        axis=1)


def fold_rows(
    flat: Mapping[str, np.ndarray], keep: int = 0
) -> dict[str, np.ndarray]:
  """Returns parameters whose tokens before the patches contain their positions.

  The network is the same: the rows are added to the tokens in any case.

  Args:
    flat: parameters with a row for every token.
    keep: rows to leave as they are, for the first tokens.
  """
  posemb, prefix = flat.get(POSEMB), num_prefix(flat)
  if posemb is None or prefix <= keep:
    return dict(flat)
  folded, start = dict(flat), 0
  for name in ("cls", "registers"):
    if name in flat:
      tokens = flat[name]
      end = start + tokens.shape[1]
      if start >= keep:
        folded[name] = tokens + posemb[:, start:end]
      start = end
  folded[POSEMB] = np.concatenate(
      [posemb[:, :keep], posemb[:, prefix:]], axis=1)
  return folded


def complete_rows(
    flat: Mapping[str, np.ndarray], stated: int | None, likely: list[int],
    source: str,
) -> dict[str, np.ndarray]:
  """Returns parameters whose position embedding has a row for every token.

  Libraries leave the row of the class token out (timm's `no_embed_class`). How
  many rows belong to patches is certain where the grid is known; else a square
  is assumed, and said.

  Args:
    flat: parameters, with the library's rows.
    stated: patches of the grid, None where nothing states it.
    likely: numbers of patches that hold where they fit exactly.
    source: the file's name, for messages.
  """
  posemb, prefix = flat.get(POSEMB), num_prefix(flat)
  if posemb is None or posemb.ndim != 3 or not prefix:
    return dict(flat)
  rows = posemb.shape[1]
  # With a row for every token before the patches, for the class token alone, or
  # for none of them.
  present = [prefix, *([1] if "cls" in flat else []), 0]
  known = [n for n in (stated, *likely) if n is not None
           and rows - n in present]
  own = rows - known[0] if known else prefix
  if not known and stated is None:
    own = next((n for n in present if rows > n and _is_square(rows - n)),
               prefix)
    if own == 0:
      side = math.isqrt(rows)
      logging.warning(
          "%s: its %d positions are taken for a grid of %dx%d without one for "
          "the class token; if the grid is another, pass old_grid=(rows, "
          "columns), --old_grid=ROWSxCOLUMNS", source, rows, side, side)
  missing = np.zeros((1, prefix - own, posemb.shape[2]), posemb.dtype)
  return {**flat, POSEMB: np.concatenate(
      [posemb[:, :own], missing, posemb[:, own:]], axis=1)}


def num_prefix(flat: Mapping[str, Any]) -> int:
  """Returns the number of tokens before the patches."""
  registers = flat.get("registers")
  return int("cls" in flat) + (
      0 if registers is None or registers.ndim != 3 else registers.shape[1])


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

"""Axial attention: sequences of one row or one column of patches (D.6)."""

import chex
import jax.numpy as jnp
from jaxtyping import Array, Float


def group_by_axis(
    x: Float[Array, "b n d"], axis: str | None, grid: tuple[int, int]
) -> Float[Array, "c m d"]:
  """Regroups patches into one sequence per row or column of each image.

  Args:
    x: patches in raster order.
    axis: "rows", "columns", or None, which returns x.
    grid: rows and columns of patches.
  """
  if axis is None:
    return x
  rows, cols = grid
  chex.assert_shape(x, (None, rows * cols, None))
  x = x.reshape(x.shape[0], rows, cols, x.shape[-1])
  if axis == "columns":
    x = x.swapaxes(1, 2)
  return x.reshape(-1, *x.shape[2:])


def sequence_grid(
    axis: str | None, grid: tuple[int, int]
) -> tuple[int, int]:
  """Returns the grid of the patches of one sequence: a row is (1, columns)."""
  return {None: grid, "rows": (1, grid[1]), "columns": (grid[0], 1)}[axis]


def ungroup(
    x: Float[Array, "c m d"], axis: str | None, grid: tuple[int, int]
) -> Float[Array, "b n d"]:
  """Returns the patches in raster order: the inverse of `group_by_axis`."""
  if axis is None:
    return x
  rows, cols = grid if axis == "rows" else grid[::-1]
  chex.assert_shape(x, (None, cols, None))
  x = x.reshape(-1, rows, cols, x.shape[-1])
  if axis == "columns":
    x = x.swapaxes(1, 2)
  return x.reshape(x.shape[0], -1, x.shape[-1])


def combined_weights(
    by_rows: Float[Array, "c h m m"],
    by_columns: Float[Array, "e h p p"],
    grid: tuple[int, int],
) -> Float[Array, "b h n n"]:
  """Returns how much each patch attends to each, through rows, then columns.

  A patch (y, x) attends to (z, x) of its column, which has attended to (z, w)
  of its row. Rows of the result sum to one.
  """
  rows, cols = grid
  chex.assert_shape(by_rows, (None, None, cols, cols))
  chex.assert_shape(by_columns, (None, None, rows, rows))
  by_rows = by_rows.reshape(-1, rows, *by_rows.shape[1:])
  by_columns = by_columns.reshape(-1, cols, *by_columns.shape[1:])
  both = jnp.einsum("bxhyz,bzhxw->bhyxzw", by_columns, by_rows)
  return both.reshape(*both.shape[:2], rows * cols, rows * cols)

"""Position embeddings for another resolution (paper, section 3.2)."""

import jax
from jaxtyping import Float
import numpy as np
from scipy import ndimage

from vit_jax.errors import CheckpointError
from vit_jax.weights import posemb_grid
from vit_jax.weights.fit_layers import Expected, Flat

PAPERS = "corner_aligned"
AUTO = "auto"
# As PyTorch's interpolate, without antialiasing: corners onto corners, or not.
_TORCH = {"torch_bicubic": False, "torch_bicubic_aligned": True}
METHODS = (AUTO, PAPERS, "bilinear", "bicubic", *_TORCH)

# Old grid, new grid and method.
Resized = tuple[tuple[int, int], tuple[int, int], str]


def resize_posemb(
    posemb: Float[np.ndarray, "1 n d"],
    old_grid: tuple[int, int],
    new_grid: tuple[int, int],
    num_prefix: int,
    method: str = PAPERS,
) -> Float[np.ndarray, "1 m d"]:
  """Interpolates a position embedding on its grid, rows first.

  Args:
    posemb: float32 (1, num_prefix + old rows * old columns, d).
    old_grid: (rows, columns) of `posemb`.
    new_grid: (rows, columns) wanted.
    num_prefix: rows before the grid (the class token's), left unchanged.
    method: "corner_aligned": linear, corners onto corners, the official
      scipy.ndimage.zoom(order=1); "bilinear" or "bicubic": half-pixel centres
      and antialiasing, as jax.image.resize and timm; "torch_bicubic": without
      antialiasing, as transformers; "torch_bicubic_aligned": the same, corners
      onto corners, as torchvision.

  Raises:
    CheckpointError: the number of rows is not the old grid's.
  """
  prefix, grid = posemb[:, :num_prefix], posemb[0, num_prefix:]
  if grid.shape[0] != old_grid[0] * old_grid[1]:
    raise CheckpointError(
        f"a position embedding of {posemb.shape[1]} rows is not {num_prefix} "
        f"and a grid of {old_grid[0]}x{old_grid[1]}; pass its own old_grid")
  grid = grid.reshape(*old_grid, -1)
  shape = (*new_grid, grid.shape[-1])
  if method == PAPERS:
    zoom = (new_grid[0] / old_grid[0], new_grid[1] / old_grid[1], 1)
    grid = ndimage.zoom(grid, zoom, order=1)
  elif method in _TORCH:
    for axis in (0, 1):
      weights = _cubic_weights(
          old_grid[axis], new_grid[axis], _TORCH[method])
      grid = np.moveaxis(np.tensordot(weights, grid, (1, axis)), 0, axis)
  else:
    grid = np.asarray(jax.image.resize(grid, shape, method))
  grid = grid.reshape(1, -1, shape[-1])
  return np.concatenate([prefix, grid], axis=1).astype(np.float32, copy=False)


def _cubic_weights(
    old: int, new: int, aligned: bool
) -> Float[np.ndarray, "m n"]:
  """Returns the matrix of a cubic interpolation along one axis.

  Keys' kernel with a = -3/4, four old points for each new one, borders
  repeated: what torch.nn.functional.interpolate(mode="bicubic") computes.
  """
  if aligned:
    places = np.arange(new) * ((old - 1) / (new - 1) if new > 1 else 0.0)
  else:
    places = (np.arange(new) + 0.5) * (old / new) - 0.5
  first = np.floor(places).astype(int)
  weights = np.zeros((new, old))
  for offset in (-1, 0, 1, 2):
    x = np.abs(places - first - offset)
    near = (1.25 * x - 2.25) * x * x + 1
    far = -0.75 * (((x - 5) * x + 8) * x - 4)
    index = np.clip(first + offset, 0, old - 1)
    np.add.at(weights, (np.arange(new), index), np.where(x <= 1, near, far))
  return weights


def fit_posemb(
    flat: Flat,
    expected: Expected,
    new_grid: tuple[int, int],
    old_grid: tuple[int, int] | None,
    method: str,
    source: str,
) -> tuple[Flat, Resized | None]:
  """Returns the parameters with position embeddings for a new grid.

  Args:
    flat: the parameters.
    expected: those of the model. Embeddings of another width or with another
      number of prefix rows are left unchanged, to be reported as mismatches.
    new_grid: (rows, columns) of the model.
    old_grid: (rows, columns) in `flat`; without it the grid must be square.
    method: see `resize_posemb`, or "auto", the paper's.
    source: the file's name, for messages.

  Returns:
    The parameters, and what was resized, None if nothing was.
  """
  tables = {
      name: table for name, table in posemb_grid.posemb_tables(flat).items()
      if name in expected and table.ndim == 3
      and table.shape[-1] == expected[name].shape[-1]}
  if not tables or (
      posemb_grid.num_prefix(flat) != posemb_grid.num_prefix(expected)):
    return flat, None
  method = PAPERS if method == AUTO else method  # no file says more
  old_grid = old_grid or posemb_grid.patch_grid(flat, source)
  if old_grid is None or tuple(old_grid) == tuple(new_grid):
    return flat, None
  (old_rows, old_cols), (new_rows, new_cols) = old_grid, new_grid
  resized = {}
  try:
    for name, table in tables.items():
      if name.endswith("_y"):  # one row for each row of the grid
        table = resize_posemb(table, (old_rows, 1), (new_rows, 1), 0, method)
      elif name.endswith("_x"):
        table = resize_posemb(table, (1, old_cols), (1, new_cols), 0, method)
      else:
        table = resize_posemb(
            table, old_grid, new_grid, posemb_grid.num_prefix(flat), method)
      resized[name] = table
  except CheckpointError as error:
    raise CheckpointError(f"{source}: {error}") from None
  return ({**flat, **resized},
          ((old_rows, old_cols), (new_rows, new_cols), method))

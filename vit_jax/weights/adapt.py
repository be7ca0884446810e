"""Fits parameters to a model: other resolution, other classes.

Fine-tuning keeps the patch size, interpolates the position embedding on its
two-dimensional grid, removes the pre-training head with its hidden layer, and
attaches a zero-initialised one (paper, section 3.2). Every array that fits
neither way is reported in one error.
"""

from collections.abc import Mapping
import dataclasses
import re
from typing import Any

from absl import logging
import jax
import jax.numpy as jnp
from jaxtyping import Float
import numpy as np
from scipy import ndimage

from vit_jax.config.schema import InitConfig
from vit_jax.errors import CheckpointError, UsageError, suggest
from vit_jax.models.masked_vit import EXTRA_NAMES
from vit_jax.models.network import Network
from vit_jax.weights import mismatch_report, posemb_grid
from vit_jax.weights.formats import npz
from vit_jax.weights.names import flax

METHODS = ("corner_aligned", "bilinear", "bicubic")
HEADS = ("auto", "keep", "reset")
PRE_LOGITS = ("auto", "keep", "drop")


@dataclasses.dataclass(frozen=True)
class AdaptReport:
  """What was done to the parameters; each part was also logged, once.

  Attributes:
    head: "kept", "reset" (zeros), "dropped" or "none".
    head_is_zero: the kernel in use is all zeros, so that the logits do not
      depend on the picture.
    pre_logits: "kept", "added" (random), "dropped" or "none".
    resized: old grid, new grid and method of a resized position embedding.
    messages: one sentence for each change, as logged.
  """

  head: str = "none"
  head_is_zero: bool = False
  pre_logits: str = "none"
  resized: tuple[tuple[int, int], tuple[int, int], str] | None = None
  messages: tuple[str, ...] = ()


def adapt(
    flat: Mapping[str, np.ndarray],
    model: Network,
    image_size: tuple[int, int],
    *,
    head: str = "auto",
    pre_logits: str = "auto",
    method: str = InitConfig.method,
    old_grid: tuple[int, int] | None = None,
    source: str = "weights",
) -> tuple[dict[str, Any], AdaptReport]:
  """Returns the model's parameter tree, made of `flat`, and what was changed.

  Args:
    flat: parameters under the model's names (dialects.normalise); arrays that
      fit are used as they are, without a copy.
    model: the model they are for, blocks stacked (`scan`) or not.
    image_size: (height, width) in pixels of the pictures to come.
    head: "keep", "reset" (kernel zeros, bias `model.head_bias_init`), or
      "auto": kept if the number of classes is the model's, and pre_logits,
      on which it was trained, are neither dropped nor added.
    pre_logits: "keep", "drop", or "auto": the model's layer is taken from the
      file where it is there; a model without the layer drops it.
    method: how position embeddings are resized, see `resize_posemb`.
    old_grid: (rows, columns) of the position embedding in `flat`; without it
      the grid must be square.
    source: the file's name, for messages.

  Raises:
    CheckpointError: arrays are missing, superfluous or of another shape; one
      message that names all of them.
    UsageError: an unknown value of head, pre_logits or method.
  """
  for key, value, known in (("head", head, HEADS), ("method", method, METHODS),
                            ("pre_logits", pre_logits, PRE_LOGITS)):
    if value not in known:
      raise UsageError(f"init.{key}={value!r} is unknown"
                       f"{suggest(value, known)}; it is one of "
                       f"{', '.join(known)}")
  want = expected_shapes(model, image_size)
  flat, notes = dict(flat), []
  pre_logits_done = _fit_pre_logits(flat, want, pre_logits, notes)
  if head == "auto" and pre_logits_done in ("added", "dropped"):
    head = "reset"  # it was trained on another input
  head_done = _fit_head(flat, want, head, model.head_bias_init, notes)
  _drop_masked_patch(flat, want, notes)
  resized = _fit_posemb(
      flat, want, model.grid(image_size), old_grid, method, source, notes)
  mismatch_report.refuse(flat, want, source)
  is_zero = "head/kernel" in want and not flat["head/kernel"].any()
  if is_zero and head_done == "kept":
    notes.append(
        "the head in the file is all zeros, as in the imagenet21k files: the "
        "logits say nothing before fine-tuning")
  for note in notes:
    logging.warning("%s: %s", source, note)
  if model.scan:
    flat = flax.stack(flat)
  return npz.unflatten(flat), AdaptReport(
      head_done, is_zero, pre_logits_done, resized, tuple(notes))


def expected_shapes(
    model: Network, image_size: tuple[int, int]
) -> dict[str, tuple[int, ...]]:
  """Returns the shape of every parameter, one entry a block, by flat name.

  Nothing is computed, and no memory taken.
  """
  # Equal blocks are traced once, which saves a second for L/16.
  single, depth = model.one_block()
  images = jax.ShapeDtypeStruct((1, *image_size, 3), jnp.float32)
  tree = jax.eval_shape(single.init, jax.random.key(0), images)["params"]
  shapes = {}
  for name, leaf in npz.flatten(tree).items():
    copies = depth if "encoderblock_0/" in name else 1
    for i in range(copies):
      shapes[name.replace("encoderblock_0/", f"encoderblock_{i}/")] = leaf.shape
  return shapes


def resize_posemb(
    posemb: Float[np.ndarray, "1 n d"],
    old_grid: tuple[int, int],
    new_grid: tuple[int, int],
    num_prefix: int,
    method: str = InitConfig.method,
) -> Float[np.ndarray, "1 m d"]:
  """Interpolates a position embedding on its grid, rows first.

  Args:
    posemb: float32 (1, num_prefix + old rows * old columns, d).
    old_grid: (rows, columns) of `posemb`.
    new_grid: (rows, columns) wanted.
    num_prefix: rows before the grid (the class token's), kept as they are.
    method: "corner_aligned": linear, corners onto corners, the official
      scipy.ndimage.zoom(order=1); "bilinear" or "bicubic": half-pixel centres
      and antialiasing, as jax.image.resize.

  Raises:
    CheckpointError: the number of rows is not the old grid's.
  """
  prefix, grid = posemb[:, :num_prefix], posemb[0, num_prefix:]
  if grid.shape[0] != old_grid[0] * old_grid[1]:
    raise CheckpointError(
        f"a position embedding of {posemb.shape[1]} rows is not {num_prefix} "
        f"and a grid of {old_grid[0]}x{old_grid[1]}; give its own old_grid")
  grid = grid.reshape(*old_grid, -1)
  shape = (*new_grid, grid.shape[-1])
  if method == "corner_aligned":
    zoom = (new_grid[0] / old_grid[0], new_grid[1] / old_grid[1], 1)
    grid = ndimage.zoom(grid, zoom, order=1)
  else:
    grid = np.asarray(jax.image.resize(grid, shape, method))
  grid = grid.reshape(1, -1, shape[-1])
  return np.concatenate([prefix, grid], axis=1).astype(np.float32, copy=False)


def _fit_head(
    flat: dict[str, np.ndarray], want: Mapping[str, tuple[int, ...]],
    head: str, bias: float, notes: list[str],
) -> str:
  """Keeps, resets or drops the head in `flat`; returns which."""
  file = flat.get("head/kernel", flat.get("head/bias"))
  classes = None if file is None or not file.ndim else file.shape[-1]
  if "head/kernel" not in want:
    if classes is None or head == "keep":
      return "none"
    for name in [n for n in flat if n.startswith("head/")]:
      del flat[name]
    notes.append(f"the head of {classes} classes was dropped: the model "
                 "returns features (num_classes=0)")
    return "dropped"
  if head == "keep" or (head == "auto" and classes == want["head/kernel"][-1]):
    return "kept"
  flat["head/kernel"] = np.zeros(want["head/kernel"], np.float32)
  flat["head/bias"] = np.full(want["head/bias"], bias, np.float32)
  old = "no head" if classes is None else f"a head of {classes} classes"
  notes.append(f"the head was reset to zeros, for {want['head/kernel'][-1]} "
               f"classes (the file has {old})")
  return "reset"


def _fit_pre_logits(
    flat: dict[str, np.ndarray], want: Mapping[str, tuple[int, ...]],
    pre_logits: str, notes: list[str],
) -> str:
  """Keeps, drops or adds the hidden tanh layer in `flat`; returns which."""
  in_file, in_model = "pre_logits/kernel" in flat, "pre_logits/kernel" in want
  if pre_logits == "keep":
    return "kept" if in_file or in_model else "none"  # misfits are reported
  if in_file and in_model and pre_logits == "auto":
    return "kept"
  if in_file:
    del flat["pre_logits/kernel"]
    flat.pop("pre_logits/bias", None)
  if in_model:
    shape = want["pre_logits/kernel"]
    init = jax.nn.initializers.lecun_normal()
    flat["pre_logits/kernel"] = np.asarray(init(jax.random.key(0), shape))
    flat["pre_logits/bias"] = np.zeros(shape[-1], np.float32)
    notes.append(
        "pre_logits was initialised at random (seed 0): the file has "
        + ("its own, which init.pre_logits='drop' leaves out" if in_file
           else "none; model.pre_logits=False is the usual choice"))
    return "added"
  if in_file:
    notes.append("pre_logits, the hidden layer of pre-training, was dropped "
                 "(pre_logits='keep' in a model with pre_logits keeps it)")
    return "dropped"
  return "none"


def _drop_masked_patch(
    flat: dict[str, np.ndarray], want: Mapping[str, tuple[int, ...]],
    notes: list[str],
) -> None:
  """Drops what only masked patch prediction needs, unless the model does it."""
  extra = [name for name in flat
           if re.match(EXTRA_NAMES, name) and name not in want]
  for name in extra:
    del flat[name]
  if extra:
    notes.append(f"{len(extra)} arrays of masked patch prediction were "
                 f"dropped: {', '.join(sorted(extra))}")


def _fit_posemb(
    flat: dict[str, np.ndarray], want: Mapping[str, tuple[int, ...]],
    new_grid: tuple[int, int], old_grid: tuple[int, int] | None,
    method: str, source: str, notes: list[str],
) -> tuple[tuple[int, int], tuple[int, int], str] | None:
  """Resizes the position embeddings in `flat` where their grid is another."""
  # Another width or another number of prefix rows is a misfit, not a size.
  tables = {name: table for name, table in posemb_grid.tables(flat).items()
            if name in want and table.ndim == 3
            and table.shape[-1] == want[name][-1]}
  num_prefix = int("cls" in flat)
  if not tables or num_prefix != ("cls" in want):
    return None
  old_grid = tuple(old_grid or posemb_grid.grid(flat, source))
  new_grid = tuple(new_grid)
  if old_grid == new_grid:
    return None
  for name, table in tables.items():
    old, new, prefix = old_grid, new_grid, num_prefix
    if name.endswith("_y"):  # a row each for the rows of the grid
      old, new, prefix = (old[0], 1), (new[0], 1), 0
    elif name.endswith("_x"):
      old, new, prefix = (1, old[1]), (1, new[1]), 0
    try:
      flat[name] = resize_posemb(table, old, new, prefix, method)
    except CheckpointError as error:
      raise CheckpointError(f"{source}: {error}") from None
  notes.append(
      f"position embeddings resized from a grid of {old_grid[0]}x{old_grid[1]}"
      f" to {new_grid[0]}x{new_grid[1]} ({method})")
  return old_grid, new_grid, method

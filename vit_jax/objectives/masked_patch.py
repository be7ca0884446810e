"""Masked patch prediction: self-supervision as BERT's (section 4.6, B.1.2).

Half of the patch embeddings are corrupted: 80 % of these become the learned
[mask] embedding, 10 % that of a random other patch of the same image, 10 % are
unchanged. The output at each corrupted patch predicts

  mean_colour   its mean colour in 3 bits per channel: one of 512 classes
  colour_4x4    the same for each of 4x4 parts: 16 predictions side by side
  regression    all its pixels in [-1, 1], by squared error

The paper reports the first. It does not say which bits a colour has, nor how
predictions and patches are averaged (here: evenly). The same number of patches
is corrupted in every image; the kind of corruption is drawn for each patch.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Num
import numpy as np
import optax

from vit_jax.errors import UsageError
from vit_jax.models.inputs import normalize
from vit_jax.models.masked_vit import (
  COLOURS,
  KEEP,
  MASK,
  REPLACE,
  Corruption,
  MaskedPatchTransformer,
)
from vit_jax.objectives.streams import fold_in_stream

# Cumulative fractions of the corrupted patches: hidden, replaced by another.
_MASKED, _REPLACED = 0.8, 0.9
_BITS = 3


def draw_corruption(
    keys: Key[Array, " b"], patches: int, fraction: float
) -> Corruption:
  """Draws a corruption; that of an image depends on its key alone.

  Args:
    keys: one per image.
    patches: n, of an image.
    fraction: of them that is corrupted, rounded to whole patches.

  Raises:
    UsageError: no patch would be corrupted.
  """
  count = round(fraction * patches)
  if not count:
    raise UsageError(
        f"objective.corrupted={fraction} of {patches} patches is none; use a "
        "larger fraction, or smaller patches")

  def one(key: jax.Array) -> Corruption:
    order_key, action_key, other_key = jax.random.split(key, 3)
    order = jax.random.permutation(order_key, patches)
    is_corrupted = jnp.argsort(order) < count
    uniform = jax.random.uniform(action_key, (patches,))
    action = jnp.where(
        uniform < _MASKED, MASK,
        jnp.where(uniform < _REPLACED, REPLACE, KEEP))
    distance = jax.random.randint(other_key, (patches,), 1, max(patches, 2))
    return Corruption(
        positions=order[:count],
        action=jnp.where(is_corrupted, action, KEEP),
        other=(jnp.arange(patches) + distance) % patches)

  return jax.vmap(one)(keys)


def colour_classes(
    images: Num[Array, "b h w 3"], grid: tuple[int, int],
    patch: tuple[int, int], cells: int
) -> Int[Array, "b n cells"]:
  """Returns the class of the mean colour of each part of each patch.

  Args:
    images: values 0..255.
    grid: rows and columns of patches; pixels beyond them are ignored.
    patch: height and width in pixels.
    cells: a patch is cut into cells x cells equal parts.

  Returns:
    64 r + 8 g + b, where r = floor(mean red / 32) and so on; parts in raster
    order. In integers, so that rounding cannot change a class.
  """
  x = _patches(images, grid, patch).astype(jnp.float32)
  down, across = (jnp.asarray(_overlaps(side, cells)) for side in patch)
  sums = jnp.einsum(
      "nrpcqk,up,vq->nrcuvk", x, down, across,
      precision=jax.lax.Precision.HIGHEST).astype(jnp.int32)
  levels = sums // (256 // 2**_BITS * patch[0] * patch[1])
  classes = (levels[..., 0] << 2 * _BITS) + (levels[..., 1] << _BITS) + (
      levels[..., 2])
  return classes.reshape(x.shape[0], grid[0] * grid[1], cells * cells)


def patch_pixels(
    images: Num[Array, "b h w 3"], grid: tuple[int, int],
    patch: tuple[int, int]
) -> Float[Array, "b n k"]:
  """Returns the pixels of each patch in [-1, 1], row by row, float32."""
  x = _patches(normalize(images, jnp.float32), grid, patch)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(
      x.shape[0], grid[0] * grid[1], patch[0] * patch[1] * 3)


def scores(
    model: MaskedPatchTransformer, predictions: Float[Array, "b m k"],
    images: Num[Array, "b h w 3"], corruption: Corruption
) -> dict[str, Float[Array, " b"]]:
  """Returns "loss" and, of colours, "accuracy": means over corrupted patches.

  Args:
    model: its target is what was predicted.
    predictions: of the corrupted patches.
    images: without corruption, values 0..255.
    corruption: see `draw_corruption`.
  """
  grid, patch = model.grid(images.shape[1:3]), model.patch_size
  if model.target == "regression":
    targets = patch_pixels(images, grid, patch)
  else:
    targets = colour_classes(
        images, grid, patch, 4 if model.target == "colour_4x4" else 1)
  chex.assert_rank([predictions, corruption.positions], [3, 2])
  chex.assert_equal_shape_prefix([predictions, corruption.positions], 2)
  targets = jnp.take_along_axis(
      targets, corruption.positions[..., None], axis=1)
  if model.target == "regression":
    chex.assert_equal_shape([predictions, targets])
    return {"loss": jnp.mean(jnp.square(predictions - targets), axis=(1, 2))}
  logits = predictions.reshape(*targets.shape, COLOURS)
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
  hits = (jnp.argmax(logits, axis=-1) == targets).astype(jnp.float32)
  return {"loss": jnp.mean(losses, axis=(1, 2)),
          "accuracy": jnp.mean(hits, axis=(1, 2))}


def predict_and_score(
    model: MaskedPatchTransformer, params: Any,
    images: Num[Array, "b h w 3"], keys: Key[Array, " b"], **options: Any
) -> dict[str, Float[Array, " b"]]:
  """Corrupts, predicts and scores images, each with its own key.

  Args:
    model: predicts the patches.
    params: its parameters.
    images: values 0..255.
    keys: see `draw_corruption`.
    **options: of `model.apply`.
  """
  rows, cols = model.grid(images.shape[1:3])
  corruption = draw_corruption(keys, rows * cols, model.corrupted)
  predictions, _ = model.apply(
      {"params": params}, normalize(images, model.dtype),
      corruption=corruption, **options)
  return scores(model, predictions, images, corruption)


def make_loss(
    model: MaskedPatchTransformer
) -> Callable[..., tuple[jax.Array, dict[str, jax.Array]]]:
  """Returns loss_fn(params, batch, rng) -> (mean loss, metrics).

  Metrics hold "accuracy", the fraction of correct colours, except for
  regression.
  """

  def loss_fn(
      params: Any, batch: dict[str, jax.Array], rng: jax.Array
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    images = batch["image"]
    keys = jax.random.split(
        fold_in_stream(rng, "corruption"), images.shape[0])
    values = predict_and_score(
        model, params, images, keys, train=True, rngs={"dropout": rng})
    means = {key: jnp.mean(value) for key, value in values.items()}
    return means.pop("loss"), means

  return loss_fn


def _patches(
    images: Num[Array, "b h w 3"], grid: tuple[int, int],
    patch: tuple[int, int]
) -> Num[Array, "b r p c q 3"]:
  """Cuts images into rows and columns of whole patches."""
  (rows, cols), (height, width) = grid, patch
  x = images[:, :rows * height, :cols * width]
  return x.reshape(x.shape[0], rows, height, cols, width, x.shape[-1])


def _overlaps(pixels: int, cells: int) -> Float[np.ndarray, "cells pixels"]:
  """Returns the overlap of pixels and equal cells, in units of 1 / cells."""
  cell = np.arange(cells)[:, None] * pixels
  pixel = np.arange(pixels)[None] * cells
  shared = np.minimum(cell + pixels, pixel + cells) - np.maximum(cell, pixel)
  return np.clip(shared, 0, None).astype(np.float32)

"""Masked patch prediction: self-supervision as BERT's (section 4.6, B.1.2).

Half of the patch embeddings are corrupted: 80 % of these become the learned
[mask] embedding, 10 % a random other patch's of the same picture, 10 % stay.
Of each corrupted patch, from its own place in the output, is predicted

  mean_colour   its mean colour in 3 bits a channel: one of 512 classes
  colour_4x4    the same of each of 4x4 parts: 16 predictions side by side
  regression    all its pixels in [-1, 1], by squared error

The first is what the paper reports. Which bits are a colour's, how predictions
and patches are averaged (here: evenly) the paper does not say. Exactly the same
number of patches is corrupted in every picture; what becomes of each is drawn
on its own.
"""

from collections.abc import Callable
from typing import Any

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

# Shares of the corrupted patches, adding up: hidden, taken from elsewhere.
_MASKED, _REPLACED = 0.8, 0.9
_BITS = 3


def draw(
    keys: Key[Array, " b"], patches: int, share: float
) -> Corruption:
  """Draws a corruption; that of a picture depends on its key alone.

  Args:
    keys: one a picture.
    patches: n, of a picture.
    share: of them that is corrupted, rounded to whole patches.

  Raises:
    UsageError: not one patch would be corrupted.
  """
  count = round(share * patches)
  if not count:
    raise UsageError(
        f"objective.corrupted={share} of {patches} patches is none; use more, "
        "or smaller patches")

  def one(key: jax.Array) -> Corruption:
    order_key, action_key, other_key = jax.random.split(key, 3)
    order = jax.random.permutation(order_key, patches)
    is_corrupted = jnp.argsort(order) < count
    lot = jax.random.uniform(action_key, (patches,))
    action = jnp.where(
        lot < _MASKED, MASK, jnp.where(lot < _REPLACED, REPLACE, KEEP))
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
    grid: rows and columns of patches; pixels beyond are not seen.
    patch: height and width in pixels.
    cells: a patch is cut into cells x cells equal parts.

  Returns:
    64 r + 8 g + b, where r = floor(mean red / 32) and so on; parts in raster
    order. Whole numbers throughout: no rounding can move a colour.
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
    model: its target says what was predicted.
    predictions: of the corrupted patches.
    images: as they were, values 0..255.
    corruption: see `draw`.
  """
  grid, patch = model.grid(images.shape[1:3]), model.patch_size
  if model.target == "regression":
    targets = patch_pixels(images, grid, patch)
  else:
    targets = colour_classes(
        images, grid, patch, 4 if model.target == "colour_4x4" else 1)
  targets = jnp.take_along_axis(
      targets, corruption.positions[..., None], axis=1)
  if model.target == "regression":
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
  """Corrupts, predicts and scores pictures, each with its own key.

  Args:
    model, params: as usual.
    images: values 0..255.
    keys: see `draw`.
    **options: of `model.apply`.
  """
  rows, cols = model.grid(images.shape[1:3])
  corruption = draw(keys, rows * cols, model.corrupted)
  predictions, _ = model.apply(
      {"params": params}, normalize(images, model.dtype),
      corruption=corruption, **options)
  return scores(model, predictions, images, corruption)


def make_loss(
    model: MaskedPatchTransformer
) -> Callable[..., tuple[jax.Array, dict[str, jax.Array]]]:
  """Returns loss_fn(params, batch, rng) -> (mean loss, metrics).

  Metrics hold "accuracy", the share of right colours, but for regression.
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
  """Cuts pictures into rows and columns of patches, whole ones only."""
  (rows, cols), (height, width) = grid, patch
  x = images[:, :rows * height, :cols * width]
  return x.reshape(x.shape[0], rows, height, cols, width, x.shape[-1])


def _overlaps(pixels: int, cells: int) -> Float[np.ndarray, "cells pixels"]:
  """Returns what of each pixel lies in each of equal cells, in 1 / cells."""
  cell = np.arange(cells)[:, None] * pixels
  pixel = np.arange(pixels)[None] * cells
  shared = np.minimum(cell + pixels, pixel + cells) - np.maximum(cell, pixel)
  return np.clip(shared, 0, None).astype(np.float32)

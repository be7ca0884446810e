"""Where a network looks: attention distance and rollout (D.7, D.8), as arrays.

Weights are those that the model captures, "attention{i}" (b h q k): a row
belongs to a query and sums to one; the patches are the last tokens, in raster
order. The weights of an axial block combine those of its rows and columns.
"""

from collections.abc import Callable, Sequence
import math
from typing import Any

import cv2
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, UInt8
import numpy as np

from vit_jax.models.attention import attention_weights
from vit_jax.models.vit import VisionTransformer


def stride(model: VisionTransformer) -> tuple[int, int]:
  """Returns the pixels from one patch to the next, down and to the right.

  The patch size; in a hybrid, times the reduction of the stem.
  """
  if model.resnet is None:
    return model.patch_size
  reduction = 4 * 2 ** max(0, len(model.resnet) - 1)
  return model.patch_size[0] * reduction, model.patch_size[1] * reduction


def patch_distances(
    grid: tuple[int, int], stride: tuple[int, int]
) -> Float[np.ndarray, "p p"]:
  """Returns the Euclidean distances between patches, centre to centre.

  Args:
    grid: rows and columns of patches.
    stride: pixels from one patch to the next, down and to the right.

  Returns:
    Distances in pixels.
  """
  centres = np.stack(np.meshgrid(
      np.arange(grid[0]) * stride[0], np.arange(grid[1]) * stride[1],
      indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32)
  return np.linalg.norm(centres[:, None] - centres[None], axis=-1)


def mean_distance(
    weights: Float[Array, "b h q k"], grid: tuple[int, int],
    stride: tuple[int, int], *, rescaled: bool = True,
) -> Float[Array, "b h"]:
  """Returns the mean attention distance of every head, in pixels (D.7).

  The distance from the query to each key, weighted by the attention, averaged
  over the queries; averaging over images is left to the caller. The class token
  has no place in the image: it is left out as a query and as a key, and the
  weights of the patches are divided by their sum, so that a head that attends
  to the class token half of the time does not seem twice as local; without
  `rescaled` they are not, and the class token counts as a distance of zero. A
  query without weight on any patch counts as attending to itself.
  """
  distances = jnp.asarray(patch_distances(grid, stride))
  patches = distances.shape[0]
  weights = weights[..., -patches:, -patches:].astype(jnp.float32)
  mean = jnp.einsum("bhqk,qk->bhq", weights, distances)
  if rescaled:
    mean /= jnp.maximum(
        jnp.sum(weights, axis=-1), jnp.finfo(jnp.float32).tiny)
  return jnp.mean(mean, axis=-1)


def rollout_step(
    joint: Float[Array, "b n m"], weights: Float[Array, "b h n n"]
) -> Float[Array, "b n m"]:
  """Extends a rollout by one block (D.8, Abnar and Zuidema 2020).

  Averages the heads, adds the identity for the residual connection, divides
  the rows by their sum and multiplies with the rollout of the blocks below. An
  axial block counts as one block with one residual connection.
  """
  mixed = jnp.mean(weights.astype(jnp.float32), axis=1)
  mixed = mixed + jnp.eye(mixed.shape[-1])[None]
  mixed = mixed / jnp.sum(mixed, axis=-1, keepdims=True)
  return jnp.einsum("bqk,bkm->bqm", mixed, joint)


def pooling_weights(
    model: VisionTransformer, params: Any, encoded: Float[Array, "b n d"]
) -> Float[Array, "b n"]:
  """Returns the share of each encoded token in the input of the head.

  For pooling "cls" the class token alone, as in the paper; for "gap" all
  patches equally; for "cls_gap" half of each; for "map" the weights of its
  attention, averaged over the heads.
  """
  batch, tokens = encoded.shape[:2]
  if model.pooling != "map":
    first = jnp.eye(tokens)[0]
    patches = (jnp.arange(tokens) >= model.prefix_tokens).astype(first.dtype)
    patches = patches / jnp.sum(patches)
    share = {"cls": first, "gap": patches, "cls_gap": (first + patches) / 2}
    return jnp.broadcast_to(share[model.pooling][None], (batch, tokens))
  head = params["MAPHead_0"]
  attention = head["MultiHeadDotProductAttention_0"]

  def project(name: str, x: jax.Array) -> jax.Array:
    x = jnp.einsum("bnd,dhk->bnhk", x, attention[name]["kernel"])
    return x + attention[name]["bias"][None, None]

  probe = jnp.broadcast_to(head["probe"], (batch, *head["probe"].shape[1:]))
  patches = encoded[:, model.prefix_tokens:].astype(jnp.float32)
  weights = attention_weights(project("query", probe), project("key", patches))
  mean = jnp.mean(weights[:, :, 0], axis=1)
  return jnp.pad(mean, ((0, 0), (model.prefix_tokens, 0)))


def make_summarize(
    model: VisionTransformer, image_size: Sequence[int]
) -> Callable[[Any, ArrayLike], dict[str, Array]]:
  """Returns a compiled (params, images) -> distances, rollout and logits.

  Nothing as large as the attention leaves the device, and the attention of a
  block is reduced at once: memory does not grow with the depth.

  Args:
    model: with separate blocks (scan=False).
    image_size: (height, width) of the images.

  Returns:
    A function of images (b h w c) that returns "distance" (b layers heads) in
    pixels, "rollout" (b rows cols), the share of each patch in the input of
    the head, and "logits" (b k).
  """
  grid, pixels = model.grid(image_size), stride(model)
  patches = math.prod(grid)

  @jax.jit
  def summarize(params: Any, images: Array) -> dict[str, Array]:
    logits, aux = model.apply(
        {"params": params}, images, capture_attention=range(model.depth))
    tokens = aux["encoded"].shape[1]
    joint = jnp.broadcast_to(jnp.eye(tokens), (len(images), tokens, tokens))
    distances = []
    for i in range(model.depth):
      weights = aux[f"attention{i}"]
      distances.append(mean_distance(weights, grid, pixels))
      joint = rollout_step(joint, weights)
    rollout = jnp.einsum(
        "bn,bnm->bm", pooling_weights(model, params, aux["encoded"]), joint)
    return {"distance": jnp.stack(distances, axis=1), "logits": logits,
            "rollout": rollout[:, -patches:].reshape(-1, *grid)}

  return summarize


def quantise(
    weights: Float[Array, "*b n"]
) -> tuple[UInt8[Array, "*b n"], Float[Array, "*b"]]:
  """Returns weights in one byte each, and the largest of every row.

  byte = 255 sqrt(weight / largest): a weight a hundred times smaller than the
  largest is still distinguished from zero.
  """
  weights = weights.astype(jnp.float32)
  largest = jnp.max(weights, axis=-1)
  scale = jnp.maximum(largest, jnp.finfo(jnp.float32).tiny)[..., None]
  return jnp.round(255 * jnp.sqrt(weights / scale)).astype(jnp.uint8), largest


def dequantise(
    levels: UInt8[np.ndarray, "*b n"], largest: Float[np.ndarray, "*b"]
) -> Float[np.ndarray, "*b n"]:
  """Undoes `quantise`, to about 0.4 % of the row's largest weight."""
  return np.square(levels / np.float32(255)) * largest[..., None]


def make_capture(
    model: VisionTransformer, blocks: Sequence[int]
) -> Callable[[Any, ArrayLike], list[tuple[Array, Array]]]:
  """Returns a compiled (params, images) -> quantised weights of each block."""

  @jax.jit
  def capture(params: Any, images: Array) -> list[tuple[Array, Array]]:
    _, aux = model.apply(
        {"params": params}, images, capture_attention=tuple(blocks))
    return [quantise(aux[f"attention{i}"]) for i in blocks]

  return capture


def rollout_mask(
    rollout: Float[np.ndarray, "rows cols"], stride: tuple[int, int],
    image_size: Sequence[int],
) -> Float[np.ndarray, "h w"]:
  """Returns a mask from 0 to 1 to multiply an image with (figures 6 and 14).

  The rollout divided by its largest value, resized (Lanczos) to the pixels that
  the patches cover, blurred (Gaussian, as wide as a patch) and stretched to
  0..1, as the authors did. Pixels that no patch covers get the nearest value.
  """
  rows, cols = rollout.shape[0] * stride[0], rollout.shape[1] * stride[1]
  mask = cv2.resize(
      np.asarray(rollout / rollout.max(), np.float32), (cols, rows),
      interpolation=cv2.INTER_LANCZOS4)
  mask = cv2.GaussianBlur(
      mask, (0, 0), sigmaX=stride[1], sigmaY=stride[0],
      borderType=cv2.BORDER_REFLECT)
  height, width = image_size
  mask = np.pad(mask, ((0, max(0, height - rows)), (0, max(0, width - cols))),
                mode="edge")[:height, :width]
  low, high = mask.min(), mask.max()
  # If all patches count the same (up to rounding), nothing is hidden.
  if high - low < 1e-5 * high:
    return np.ones_like(mask)
  return (mask - low) / (high - low)

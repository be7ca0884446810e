"""Where a network looks: attention distance and rollout (D.7, D.8), as arrays.

Weights are what the model captures, "attention{i}" (b h q k): rows are
queries, sum to one, and the patches are the last tokens, in raster order. In
axial blocks they are those of rows and columns in one.
"""

from collections.abc import Callable, Sequence
import math
from typing import Any

import cv2
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8
import numpy as np

from vit_jax.models.attention import attention_weights
from vit_jax.models.vit import VisionTransformer


def stride(model: VisionTransformer) -> tuple[int, int]:
  """Returns the pixels from one patch to the next, down and to the right.

  The patch size; in a hybrid the patch times what the stem reduces.
  """
  if model.resnet is None:
    return model.patch_size
  reduction = 4 * 2 ** max(0, len(model.resnet) - 1)
  return model.patch_size[0] * reduction, model.patch_size[1] * reduction


def distances(
    grid: tuple[int, int], pixels: tuple[int, int]
) -> Float[np.ndarray, "p p"]:
  """Returns how far apart the patches of a grid are, in pixels.

  Euclidean, centre to centre: on the token grid, times the stride.
  """
  places = np.stack(np.meshgrid(
      np.arange(grid[0]) * pixels[0], np.arange(grid[1]) * pixels[1],
      indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32)
  return np.linalg.norm(places[:, None] - places[None], axis=-1)


def mean_distance(
    weights: Float[Array, "b h q k"], grid: tuple[int, int],
    pixels: tuple[int, int],
) -> Float[Array, "b h"]:
  """Returns the mean attention distance of every head, in pixels (D.7).

  The distance from the query to each key, weighted by the attention, averaged
  over the queries; the average over pictures is the caller's. The class token
  has no place in the picture: it is left out as a query and as a key, and the
  weights of the patches are divided by their sum, so that a head that looks at
  the class token half of the time does not seem twice as local. A query with
  no weight on any patch counts as looking at itself.
  """
  apart = jnp.asarray(distances(grid, pixels))
  patches = apart.shape[0]
  weights = weights[..., -patches:, -patches:].astype(jnp.float32)
  seen = jnp.sum(weights, axis=-1)
  far = jnp.einsum("bhqk,qk->bhq", weights, apart)
  return jnp.mean(far / jnp.maximum(seen, jnp.finfo(jnp.float32).tiny), axis=-1)


def rollout_step(
    joint: Float[Array, "b n m"], weights: Float[Array, "b h n n"]
) -> Float[Array, "b n m"]:
  """Carries a rollout through one more block (D.8, Abnar and Zuidema 2020).

  Averages the heads, adds the identity for the residual connection, divides
  the rows by their sum and multiplies what the blocks below have mixed. An
  axial block counts as one block with one residual connection.
  """
  mixed = jnp.mean(weights.astype(jnp.float32), axis=1)
  mixed = mixed + jnp.eye(mixed.shape[-1])[None]
  mixed = mixed / jnp.sum(mixed, axis=-1, keepdims=True)
  return jnp.einsum("bqk,bkm->bqm", mixed, joint)


def reading(
    model: VisionTransformer, params: Any, encoded: Float[Array, "b n d"]
) -> Float[Array, "b n"]:
  """Returns the share of each encoded token in what the head sees.

  The class token alone for "cls", as in the paper; every token alike for
  "gap"; for "map" the weights of its attention, averaged over the heads.
  """
  batch, tokens = encoded.shape[:2]
  if model.pooling == "cls":
    return jnp.broadcast_to(jnp.eye(tokens)[:1], (batch, tokens))
  if model.pooling == "gap":
    return jnp.full((batch, tokens), 1 / tokens)
  head = params["MAPHead_0"]
  inside = head["MultiHeadDotProductAttention_0"]

  def project(name: str, x: jax.Array) -> jax.Array:
    x = jnp.einsum("bnd,dhk->bnhk", x, inside[name]["kernel"])
    return x + inside[name]["bias"][None, None]

  probe = jnp.broadcast_to(head["probe"], (batch, *head["probe"].shape[1:]))
  weights = attention_weights(
      project("query", probe), project("key", encoded.astype(jnp.float32)))
  return jnp.mean(weights[:, :, 0], axis=1)


def make_summarize(
    model: VisionTransformer, image_size: Sequence[int]
) -> Callable[[Any, Array], dict[str, Array]]:
  """Returns a compiled (params, images) -> distances and rollout.

  Nothing as large as the attention leaves the device, and each block's is
  reduced as soon as it is there: memory does not grow with the depth.

  Args:
    model: with blocks of its own for each layer (scan=False).
    image_size: (height, width) of the pictures.

  Returns:
    A function of images (b h w c) that returns "distance" (b layers heads) in
    pixels, "rollout" (b rows cols), how much of what the head sees is due to
    each patch, "logits" (b k).
  """
  grid, pixels = model.grid(image_size), stride(model)
  patches = math.prod(grid)

  @jax.jit
  def summarize(params: Any, images: Array) -> dict[str, Array]:
    logits, aux = model.apply(
        {"params": params}, images, capture_attention=range(model.depth))
    tokens = aux["encoded"].shape[1]
    joint = jnp.broadcast_to(jnp.eye(tokens), (len(images), tokens, tokens))
    far = []
    for i in range(model.depth):
      weights = aux[f"attention{i}"]
      far.append(mean_distance(weights, grid, pixels))
      joint = rollout_step(joint, weights)
    seen = jnp.einsum(
        "bn,bnm->bm", reading(model, params, aux["encoded"]), joint)
    return {"distance": jnp.stack(far, axis=1), "logits": logits,
            "rollout": seen[:, -patches:].reshape(-1, *grid)}

  return summarize


def quantise(
    weights: Float[Array, "*b n"]
) -> tuple[UInt8[Array, "*b n"], Float[Array, "*b"]]:
  """Writes weights in one byte each, and the largest of every row.

  byte = 255 sqrt(weight / largest): what is a hundred times smaller than the
  largest weight is still told apart from nothing.
  """
  weights = weights.astype(jnp.float32)
  largest = jnp.max(weights, axis=-1)
  scale = jnp.maximum(largest, jnp.finfo(jnp.float32).tiny)[..., None]
  return jnp.round(255 * jnp.sqrt(weights / scale)).astype(jnp.uint8), largest


def restore(
    levels: UInt8[np.ndarray, "*b n"], largest: Float[np.ndarray, "*b"]
) -> Float[np.ndarray, "*b n"]:
  """Undoes `quantise`, to about 0.4 % of the row's largest weight."""
  return np.square(levels / np.float32(255)) * largest[..., None]


def make_capture(
    model: VisionTransformer, blocks: Sequence[int]
) -> Callable[[Any, Array], list[tuple[Array, Array]]]:
  """Returns a compiled (params, images) -> quantised weights of each block."""

  @jax.jit
  def capture(params: Any, images: Array) -> list[tuple[Array, Array]]:
    _, aux = model.apply(
        {"params": params}, images, capture_attention=tuple(blocks))
    return [quantise(aux[f"attention{i}"]) for i in blocks]

  return capture


def rollout_mask(
    seen: Float[np.ndarray, "rows cols"], pixels: tuple[int, int],
    image_size: Sequence[int],
) -> Float[np.ndarray, "h w"]:
  """Returns what to multiply a picture with, from 0 to 1 (figures 6 and 14).

  The rollout over its largest value, resized (Lanczos) to the pixels that the
  patches cover, blurred (Gaussian, as wide as a patch) and stretched to 0..1,
  as the authors did. What no patch covers gets the value of its border.
  """
  rows, cols = seen.shape[0] * pixels[0], seen.shape[1] * pixels[1]
  large = cv2.resize(
      np.asarray(seen / seen.max(), np.float32), (cols, rows),
      interpolation=cv2.INTER_LANCZOS4)
  large = cv2.GaussianBlur(
      large, (0, 0), sigmaX=pixels[1], sigmaY=pixels[0],
      borderType=cv2.BORDER_REFLECT)
  height, width = image_size
  large = np.pad(large, ((0, max(0, height - rows)), (0, max(0, width - cols))),
                 mode="edge")[:height, :width]
  low, high = large.min(), large.max()
  # Where all patches count alike (to rounding), nothing is hidden.
  if high - low < 1e-5 * high:
    return np.ones_like(large)
  return (large - low) / (high - low)

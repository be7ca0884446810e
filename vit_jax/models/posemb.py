"""Position embeddings: which kind, and where it is added (Table 8, D.4).

Kinds, and the parameters of each for a grid of g_h x g_w patches, n tokens
(the class token included) and width D:

  none      none            a bag of patches
  1d        n D             a row per token in raster order, class token first
  2d        (g_h + g_w) D/2 a Y and an X table, concatenated by coordinate
  relative  L (2 n - 1) D   in the attention of every block, see below
  sincos2d  none            fixed sines and cosines, as in MoCo v3
  rope2d    none            queries and keys rotated by their coordinates
  rope2d_unit  none         the same, the image reaching from -1 to 1 (DINOv3)

Places: "stem" (once, before the first block), "layers" (at the input of every
block, each with its own table: L times the parameters) and "layers_shared"
(at the input of every block, one table).

The paper does not mention the class token outside "1d". Here it has no 2d or
sincos2d embedding (its row is zero: the learned `cls` distinguishes it), for
relative offsets it is token 0, just before the first patch, and rope2d and
rope2d_unit do not rotate it.
"""

import chex
from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.errors import UsageError
from vit_jax.models.checks import check_choice

# Kinds whose table is added to the tokens; those of them without parameters;
# kinds that act inside the attention of every block.
TABLES = ("1d", "2d", "sincos2d")
FIXED = ("sincos2d",)
ROTARY = ("rope2d", "rope2d_unit")
IN_ATTENTION = ("relative", *ROTARY)
KINDS = ("none", *TABLES, *IN_ATTENTION)
# Kinds that leave no trace in the parameters.
WITHOUT_ARRAYS = ("none", *FIXED, *ROTARY)
PLACES = ("stem", "layers", "layers_shared")
TEMPERATURE = 10_000.0
ROPE_TEMPERATURE = 100.0


def check_posemb(kind: str, at: str, width: int) -> None:
  """Raises UsageError for an unknown or impossible kind or place."""
  check_choice("posemb", kind, KINDS)
  check_choice("posemb_at", at, PLACES)
  if kind not in TABLES and at != "stem":
    why = ("it acts inside the attention of every block"
           if kind in IN_ATTENTION else "there is nothing to add")
    raise UsageError(
        f"model.posemb_at={at!r} does not fit model.posemb={kind!r}: "
        f"{why}; leave it at 'stem'")
  if kind == "2d" and width % 2:
    raise UsageError(
        f"model.posemb='2d' halves the width, and model.width={width} is odd; "
        "use an even width or posemb='1d'")
  if kind == "sincos2d" and (width % 4 or width < 8):
    raise UsageError(
        "model.posemb='sincos2d' needs a width that is a multiple of 4 and at "
        f"least 8, model.width is {width}; use another width or posemb='1d'")


def in_words(kind: str, at: str) -> str:
  """Returns kind and place as words, such as "1d position embedding at ..."."""
  if kind == "none":
    return "no position embedding"
  if kind in IN_ATTENTION:
    return f"{kind} positions"
  place = {"stem": "at the stem", "layers": "at every layer",
           "layers_shared": "at every layer, shared"}[at]
  return f"{kind} position embedding {place}"


def sincos_2d(
    grid: tuple[int, int], width: int
) -> Float[Array, "n d"]:
  """Returns sines and cosines of the coordinates, patches in raster order.

  [sin x w, cos x w, sin y w, cos y w] for width / 4 frequencies w from 1 down
  to 1 / 10000 (MoCo v3; big_vision's `posemb_sincos_2d`).
  """
  frequencies = TEMPERATURE ** -jnp.linspace(0, 1, width // 4)
  y, x = (
      jnp.outer(axis.ravel(), frequencies)
      for axis in jnp.meshgrid(*map(jnp.arange, grid), indexing="ij"))
  return jnp.concatenate(
      [jnp.sin(x), jnp.cos(x), jnp.sin(y), jnp.cos(y)], axis=1)


class PositionEmbedding(nn.Module):
  """The table that is added to the tokens; learned ones start at std 0.02.

  Attributes:
    kind: "1d", "2d" or "sincos2d".
    grid: rows and columns of patches.
  """

  kind: str
  grid: tuple[int, int]

  @nn.compact
  def __call__(self, tokens: int, width: int) -> Float[Array, "1 n d"]:
    """Returns float32 rows for all tokens, those before the patches first."""
    if self.kind == "1d":
      return self._learned("pos_embedding", (1, tokens, width))
    rows, cols = self.grid
    if self.kind == "2d":
      y = self._learned("pos_embedding_y", (1, rows, width // 2))
      x = self._learned("pos_embedding_x", (1, cols, width // 2))
      shape = (1, rows, cols, width // 2)
      table = jnp.concatenate([
          jnp.broadcast_to(x[:, None, :, :], shape),
          jnp.broadcast_to(y[:, :, None, :], shape)], axis=-1)
      table = table.reshape(1, rows * cols, width)
    else:
      table = sincos_2d(self.grid, width)[None]
    return jnp.pad(table, ((0, 0), (tokens - rows * cols, 0), (0, 0)))

  def _learned(self, name: str, shape: tuple[int, ...]) -> jnp.ndarray:
    """Returns a learned table."""
    return learned_table(self, name, shape)


def learned_table(
    module: nn.Module, name: str, shape: tuple[int, ...]
) -> jnp.ndarray:
  """Returns a table of positions that is a parameter of `module`.

  Raises:
    UsageError: the parameters are for images of another size.
  """
  if module.has_variable("params", name):
    found: tuple[int, ...] = module.get_variable("params", name).shape
    if found != shape and len(found) == len(shape) and (
        found[-1] == shape[-1]):
      axis = 0 if found[0] != shape[0] else 1
      raise UsageError(
          f"{name} has {found[axis]} positions, but images of this size need "
          f"{shape[axis]}; give images of the size that the model was loaded "
          "for, as vit.preprocess returns them, or load it for theirs: "
          "vit_jax.load(..., image_size=(height, width))")
  return module.param(
      name, nn.initializers.normal(stddev=0.02), shape, jnp.float32)


def add_positions(
    x: Float[Array, "b n d"], table: Float[Array, "1 n d"] | None
) -> Float[Array, "b n d"]:
  """Returns x plus the table, in the dtype of x."""
  if table is None:
    return x
  chex.assert_shape(table, (1, *x.shape[1:]))
  return x + jnp.broadcast_to(table.astype(x.dtype), x.shape)


class RelativeLogits(nn.Module):
  """Attention logits of queries over relative positions (appendix D.4).

  One learned embedding per head and offset between two tokens of the sequence
  replaces the keys: "1-dimensional relative attention". Row r of the parameter
  belongs to the offset p_k - p_q = r - (n - 1).
  """

  @nn.compact
  def __call__(self, query: Float[Array, "b q h k"]) -> Float[Array, "b h q s"]:
    """Returns q . r for every pair; scale the query beforehand."""
    n, heads, width = query.shape[1:]
    table = learned_table(self, "pos_embedding", (2 * n - 1, heads, width))
    logits = jnp.einsum("bqhk,rhk->bhqr", query, table.astype(query.dtype))
    return skew(logits)


def skew(x: Float[Array, "b h q r"]) -> Float[Array, "b h q s"]:
  """Turns offsets into keys: out[q, s] = x[q, s - q + n - 1], s < n.

  By padding and reshaping, as gathers are slow on a TPU: with one more column
  that element is number q (2 n - 1) + s + n - 1 of the flattened rows.
  """
  batch, heads, n, _ = x.shape
  flat = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1))).reshape(batch, heads, -1)
  flat = flat[..., n - 1:n - 1 + n * (2 * n - 1)]
  return flat.reshape(batch, heads, n, 2 * n - 1)[..., :n]


def rotate_2d(
    x: Float[Array, "b n h k"], grid: tuple[int, int], kind: str = "rope2d"
) -> Float[Array, "b n h k"]:
  """Rotates pairs of features by angles proportional to the coordinates.

  Rotary position embedding by axis (Su et al. 2021; Heo et al. 2024, "Rotary
  Position Embedding for Vision Transformer", arXiv 2403.13298): half of a
  head's features by the row, half by the column, with the k / 4 frequencies
  100 ** (-4 t / k). Products of rotated queries and keys depend on the offset
  of their patches only.

    rope2d       patches are 1 apart; features in the order (axis, pair, t)
    rope2d_unit  centres of patches from -1 to 1, times 2 pi; (pair, axis, t),
                 as DINOv3 (arXiv 2508.10104), without its changes of scale in
                 training

  Args:
    x: queries or keys; the patches are the last tokens, and those before them
      are not rotated.
    grid: rows and columns of patches.
    kind: one of ROTARY.

  Raises:
    UsageError: the width k of a head is not a multiple of 4.
  """
  tokens, width = x.shape[1], x.shape[-1]
  if width % 4:
    raise UsageError(
        f"model.posemb={kind!r} needs heads whose width is a multiple of 4, "
        f"and model.width / model.num_heads is {width}; use another number of "
        "heads or posemb='1d'")
  # One head's angles, (n, 2, k / 4), serve all heads.
  angles = _angles(grid, width // 4, kind)
  angles = jnp.pad(angles, ((tokens - angles.shape[0], 0), (0, 0), (0, 0)))
  cos, sin = jnp.cos(angles)[None, :, None], jnp.sin(angles)[None, :, None]
  pairs = x.astype(jnp.float32).reshape(*x.shape[:-1], 2, 2, width // 4)
  pair = -2 if kind == "rope2d" else -3
  first, second = jnp.moveaxis(pairs, pair, 0)
  rotated = jnp.stack(
      [first * cos - second * sin, first * sin + second * cos], axis=pair)
  return rotated.reshape(x.shape).astype(x.dtype)


def _angles(
    grid: tuple[int, int], count: int, kind: str
) -> Float[Array, "n 2 t"]:
  """Returns the angles of all patches for the row and the column."""
  frequencies = ROPE_TEMPERATURE ** -(jnp.arange(count) / count)
  axes = [jnp.arange(length) for length in grid]
  if kind == "rope2d_unit":
    axes = [2 * jnp.pi * (2 * (axis + 0.5) / length - 1)
            for axis, length in zip(axes, grid, strict=True)]
  coordinates = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1)
  return coordinates.reshape(-1, 2, 1) * frequencies[None, None]

"""The blocks of the encoder: pre-norm, with global or axial attention.

    z'_l = MSA(LN(z_{l-1})) + z_{l-1}                            (equation 2)
    z_l  = MLP(LN(z'_l)) + z'_l                                  (equation 3)
"""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.devices.sharding import split_batch
from vit_jax.models.attention import MultiHeadAttention
from vit_jax.models.checks import check_choice
from vit_jax.models.posemb import PositionEmbedding, add_positions

BLOCKS = ("global", "axial")
GELUS = ("tanh", "erf")


def layer_norm(name: str, dtype: Any, eps: float = 1e-6) -> nn.LayerNorm:
  """Returns a LayerNorm, statistics in float32; eps is the paper's code's."""
  return nn.LayerNorm(epsilon=eps, dtype=dtype, name=name)


def drop_path(
    x: Float[Array, "b n d"], rate: Any, key: jax.Array
) -> Float[Array, "b n d"]:
  """Drops the whole residual branch of some examples, scaling the others.

  Stochastic depth (Huang et al. 2016) as AugReg uses it; `rate` is the
  probability of dropping. The expectation over keys is x.
  """
  keep = 1.0 - rate
  mask = jax.random.bernoulli(key, keep, (x.shape[0], 1, 1))
  return jnp.where(mask, x / jnp.asarray(keep, x.dtype), jnp.zeros_like(x))


class MlpBlock(nn.Module):
  """Two dense layers with GELU between (paper, section 3.1)."""

  mlp_dim: int
  dropout: float = 0.0
  gelu: str = "tanh"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self, x: Float[Array, "b n d"], *, train: bool
  ) -> Float[Array, "b n d"]:
    """Returns the same shape."""
    check_choice("gelu", self.gelu, GELUS)

    def dense(features: int, name: str) -> nn.Dense:
      return nn.Dense(
          features, dtype=self.dtype, name=name,
          kernel_init=nn.initializers.xavier_uniform(),
          bias_init=nn.initializers.normal(stddev=1e-6))

    width = x.shape[-1]
    x = dense(self.mlp_dim, "Dense_0")(x)
    x = nn.gelu(x, approximate=self.gelu == "tanh")
    x = nn.Dropout(self.dropout)(x, deterministic=not train)
    x = dense(width, "Dense_1")(x)
    return nn.Dropout(self.dropout)(x, deterministic=not train)


class EncoderBlock(nn.Module):
  """LN, attention, add; LN, MLP, add.

  The call returns `(x, (x, weights))`, the carry and the outputs of a scan;
  weights are None unless captured, x is None there in training.

  Attributes:
    mlp_dim, num_heads, dropout, attention_dropout, qkv_bias, gelu, ln_eps,
      dtype, attention: see `VisionTransformer`.
    stochastic: whether drop rates are heeded.
    posemb: kind of the table of this block's own, added to its input; None
      for no table. "relative" adds no table, but logits in the attention.
    grid: rows and columns of patches.
    axis: None for global attention, "rows" for tokens that attend to those of
      their row of the grid, "columns" to those of their column.
  """

  mlp_dim: int
  num_heads: int
  dropout: float = 0.0
  attention_dropout: float = 0.0
  qkv_bias: bool = True
  gelu: str = "tanh"
  ln_eps: float = 1e-6
  dtype: Any = jnp.float32
  attention: str = "auto"
  stochastic: bool = False
  posemb: str | None = None
  grid: tuple[int, int] = (0, 0)
  axis: str | None = None

  @nn.compact
  def __call__(
      self, x: Float[Array, "b n d"], shared: Float[Array, "1 n d"] | None,
      drop_rate: Any, train: bool, capture: bool,
  ) -> tuple[jax.Array, tuple[jax.Array | None, jax.Array | None]]:
    """Applies the block.

    Args:
      x: tokens.
      shared: position embedding that all blocks add to their input, or None.
      drop_rate: stochastic-depth rate of this block.
      train: turns dropout on.
      capture: returns the softmax weights, too.
    """

    def branch(y: jax.Array) -> jax.Array:
      if not (self.stochastic and train):
        return y
      return drop_path(y, drop_rate, self.make_rng("dropout"))

    x = add_positions(x, shared)
    if self.posemb not in (None, "relative"):
      x = add_positions(x, PositionEmbedding(
          self.posemb, self.grid, name="posembed_input")(*x.shape[1:]))
    x = split_batch(x)
    y = layer_norm("LayerNorm_0", self.dtype, self.ln_eps)(x)
    y = split(y, self.axis, self.grid)
    y, weights = MultiHeadAttention(
        self.num_heads, qkv_bias=self.qkv_bias, dropout=self.attention_dropout,
        dtype=self.dtype, implementation=self.attention,
        relative=self.posemb == "relative",
        name="MultiHeadDotProductAttention_0")(y, train=train, capture=capture)
    y = merge(y, self.axis, self.grid)
    x = split_batch(
        x + branch(nn.Dropout(self.dropout)(y, deterministic=not train)))
    y = layer_norm("LayerNorm_1", self.dtype, self.ln_eps)(x)
    y = MlpBlock(
        self.mlp_dim, self.dropout, self.gelu, self.dtype,
        name="MlpBlock_0")(y, train=train)
    x = split_batch(x + branch(y))
    return x, (None if train else x, weights)


class AxialBlock(nn.Module):
  """Row attention and MLP, then column attention and MLP (D.6, Axial-ViT).

  Takes the place of one global block, at twice its parameters. A position
  embedding of the block's own is added before the rows.

  Attributes:
    options: attributes of the two EncoderBlocks.
  """

  options: Any

  @nn.compact
  def __call__(
      self, x: Float[Array, "b n d"], shared: Float[Array, "1 n d"] | None,
      drop_rate: Any, train: bool, capture: bool,
  ) -> tuple[jax.Array, tuple[jax.Array | None, jax.Array | None]]:
    """As EncoderBlock; weights are those of both steps as one (b h n n)."""
    options = dict(self.options)
    relative = options["posemb"] == "relative"
    x, (_, rows) = EncoderBlock(**options, axis="rows", name="rows")(
        x, shared, drop_rate, train, capture)
    options["posemb"] = "relative" if relative else None
    x, (_, columns) = EncoderBlock(**options, axis="columns", name="columns")(
        x, None, drop_rate, train, capture)
    weights = None
    if capture:
      weights = compose(rows, columns, options["grid"])
    return x, (None if train else x, weights)


def split(
    x: Float[Array, "b n d"], axis: str | None, grid: tuple[int, int]
) -> Float[Array, "c m d"]:
  """Cuts patches into one sequence a row or a column; None leaves them."""
  if axis is None:
    return x
  rows, cols = grid
  x = x.reshape(x.shape[0], rows, cols, x.shape[-1])
  if axis == "columns":
    x = x.swapaxes(1, 2)
  return x.reshape(-1, *x.shape[2:])


def merge(
    x: Float[Array, "c m d"], axis: str | None, grid: tuple[int, int]
) -> Float[Array, "b n d"]:
  """Undoes `split`."""
  if axis is None:
    return x
  rows, cols = grid if axis == "rows" else grid[::-1]
  x = x.reshape(-1, rows, cols, x.shape[-1])
  if axis == "columns":
    x = x.swapaxes(1, 2)
  return x.reshape(x.shape[0], -1, x.shape[-1])


def compose(
    by_rows: Float[Array, "c h m m"],
    by_columns: Float[Array, "e h p p"],
    grid: tuple[int, int],
) -> Float[Array, "b h n n"]:
  """Returns how much each patch sees of each through rows, then columns.

  A patch (y, x) reads (z, x) of its column, which has read (z, w) of its row.
  Rows of the result sum to one.
  """
  rows, cols = grid
  by_rows = by_rows.reshape(-1, rows, *by_rows.shape[1:])
  by_columns = by_columns.reshape(-1, cols, *by_columns.shape[1:])
  both = jnp.einsum("bxhyz,bzhxw->bhyxzw", by_columns, by_rows)
  return both.reshape(*both.shape[:2], rows * cols, rows * cols)

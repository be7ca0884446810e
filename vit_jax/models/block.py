"""The blocks of the encoder: pre-norm, with global or axial attention.

    z'_l = MSA(LN(z_{l-1})) + z_{l-1}                            (equation 2)
    z_l  = MLP(LN(z'_l)) + z'_l                                  (equation 3)
"""

import dataclasses
from typing import Any

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.config.sections import ModelConfig
from vit_jax.devices.partition import split_batch
from vit_jax.models import axial, posemb
from vit_jax.models.attention import (
    attend_by,
    attention_weights,
    choose_implementation,
    scaled,
)
from vit_jax.models.checks import check_heads
from vit_jax.models.gradient_dtype import dense_options
from vit_jax.models.posemb import PositionEmbedding, add_positions
from vit_jax.models.residual import LayerScale, activation, drop_path

BLOCKS = ("global", "axial")

# The carry and the outputs of a block in a scan over blocks.
BlockOutput = tuple[jax.Array, tuple[jax.Array | None, jax.Array | None]]


@dataclasses.dataclass(frozen=True)
class BlockConfig:
  """What all blocks of an encoder have in common.

  Each field is the attribute of the same name of `VisionTransformer`, which
  builds this once and documents them.
  """

  mlp_dim: int
  num_heads: int
  head_dim: int | None = ModelConfig.head_dim
  dropout: float = ModelConfig.dropout
  attention_dropout: float = ModelConfig.attention_dropout
  stochastic_depth: float = ModelConfig.stochastic_depth
  qkv_bias: bool = ModelConfig.qkv_bias
  qk_norm: bool = ModelConfig.qk_norm
  layer_scale: bool = ModelConfig.layer_scale
  gated: bool = ModelConfig.gated
  gelu: str = ModelConfig.gelu
  ln_eps: float = ModelConfig.ln_eps
  dtype: Any = jnp.float32
  grad_dtype: str = ModelConfig.grad_dtype
  attention: str = ModelConfig.attention

  def layer_norm(self, name: str) -> nn.LayerNorm:
    """Returns a LayerNorm; statistics are float32."""
    return nn.LayerNorm(epsilon=self.ln_eps, dtype=self.dtype, name=name)

  def head_norm(self, name: str) -> nn.LayerNorm:
    """Returns a LayerNorm of the vectors of each head, without a bias.

    All heads share its scale (k,), as in flax.linen's `normalize_qk`.
    """
    return nn.LayerNorm(
        epsilon=self.ln_eps, dtype=self.dtype, use_bias=False, name=name)


# Fields that show in the parameters: the name of one that a block then has.
SHOWN_BY = {
    "qkv_bias": "MultiHeadDotProductAttention_0/query/bias",
    "qk_norm": "MultiHeadDotProductAttention_0/query_ln/scale",
    "layer_scale": "LayerScale_0/scale",
    "gated": "MlpBlock_0/Gate/kernel",
}


class MultiHeadAttention(nn.Module):
  """Multi-head attention of `queries` over `keys` (paper, equations 5-8).

  Parameters carry the released names and shapes: query, key and value map
  (d,) to (heads, d / heads), or (heads, `head_dim`), out maps back.

  Attributes:
    config: of the block; without `head_dim`, its heads must divide the width
      (UsageError).
    posemb: kind of the position embedding; what acts in the attention is
      "relative" and ROTARY (see `posemb.RelativeLogits`, `rotate_2d`).
    grid: rows and columns of patches, the last of the tokens.
  """

  config: BlockConfig
  posemb: str | None = None
  grid: tuple[int, int] = (0, 0)

  @nn.compact
  def __call__(
      self,
      queries: Float[Array, "b q d"],
      keys: Float[Array, "b s d"] | None = None,
      *,
      train: bool = False,
      capture: bool = False,
  ) -> tuple[Float[Array, "b q d"], Float[Array, "b h q s"] | None]:
    """Returns the output and, if `capture`, the weights (else None).

    Without `keys` it is self-attention.
    """
    config = self.config
    keys = queries if keys is None else keys
    chex.assert_rank([queries, keys], 3)
    chex.assert_equal_shape([queries, keys], dims=(0, 2))
    width = queries.shape[-1]
    if config.head_dim is None:
      check_heads(width, config.num_heads)
    shape = (config.num_heads, config.head_dim or width // config.num_heads)

    def project(name: str, x: jax.Array) -> jax.Array:
      return nn.DenseGeneral(
          shape, use_bias=config.qkv_bias, dtype=config.dtype, name=name,
          kernel_init=nn.initializers.xavier_uniform(),
          **dense_options(config.grad_dtype))(x)

    query, key = project("query", queries), project("key", keys)
    value = project("value", keys)
    if config.qk_norm:
      query = config.head_norm("query_ln")(query)
      key = config.head_norm("key_ln")(key)
    if self.posemb in posemb.ROTARY:
      query = posemb.rotate_2d(query, self.grid, self.posemb)
      key = posemb.rotate_2d(key, self.grid, self.posemb)
    rate, relative = config.attention_dropout, self.posemb == "relative"
    # The weights themselves are formed only where something needs them.
    formed = capture or (rate > 0 and train) or relative
    implementation = choose_implementation(
        config.attention, dtype=config.dtype, head_dim=shape[1],
        needs_weights=formed, same_tokens=keys is queries)
    weights = bias = None
    if relative:
      bias = posemb.RelativeLogits(name="posembed_relative")(scaled(query))
    if implementation != "einsum_f32" and not formed:
      heads = attend_by(implementation, query, key, value)
    else:
      weights = attention_weights(
          query, key, bias=bias, softmax_dtype=(
              jnp.float32 if implementation == "einsum_f32" else None))
      dropped = nn.Dropout(rate)(weights, deterministic=not train)
      heads = jnp.einsum("bhqs,bshk->bqhk", dropped, value)
    out = nn.DenseGeneral(
        width, axis=(-2, -1), dtype=config.dtype, name="out",
        kernel_init=nn.initializers.xavier_uniform(),
        **dense_options(config.grad_dtype))(heads)
    return out, (weights if capture else None)


class MlpBlock(nn.Module):
  """Two dense layers with GELU between (paper, section 3.1).

  With `gated`, the hidden features are instead silu(x W_g) times x W_0
  (SwiGLU: Shazeer, "GLU Variants Improve Transformer", equation 6), W_g being
  the parameter Gate.
  """

  config: BlockConfig

  @nn.compact
  def __call__(
      self, x: Float[Array, "b n d"], *, train: bool
  ) -> Float[Array, "b n d"]:
    """Returns the same shape."""
    config = self.config

    def dense(features: int, name: str) -> nn.Dense:
      return nn.Dense(
          features, dtype=config.dtype, name=name,
          kernel_init=nn.initializers.xavier_uniform(),
          bias_init=nn.initializers.normal(stddev=1e-6),
          **dense_options(config.grad_dtype))

    width = x.shape[-1]
    hidden = dense(config.mlp_dim, "Dense_0")(x)
    if config.gated:
      x = nn.silu(dense(config.mlp_dim, "Gate")(x)) * hidden
    else:
      x = activation(hidden, config.gelu)
    x = nn.Dropout(config.dropout)(x, deterministic=not train)
    x = dense(width, "Dense_1")(x)
    return nn.Dropout(config.dropout)(x, deterministic=not train)


class EncoderBlock(nn.Module):
  """LN, attention, add; LN, MLP, add.

  The call returns `(x, (x, weights))`, the carry and the outputs of a scan;
  weights are None unless captured, x is None there in training.

  Attributes:
    config: of all blocks.
    grid: rows and columns of patches.
    posemb: kind of the position embedding of this block's own: a table added
      to its input, or one that acts in the attention; None for neither.
    axis: None for global attention, "rows" for tokens that attend to those of
      their row of the grid, "columns" to those of their column.
  """

  config: BlockConfig
  grid: tuple[int, int]
  posemb: str | None = None
  axis: str | None = None

  @nn.compact
  def __call__(
      self, x: Float[Array, "b n d"], shared: Float[Array, "1 n d"] | None,
      drop_rate: Any, train: bool, capture: bool,
  ) -> BlockOutput:
    """Applies the block.

    Args:
      x: tokens.
      shared: position embedding that all blocks add to their input, or None.
      drop_rate: stochastic-depth rate of this block.
      train: turns dropout on.
      capture: returns the softmax weights, too.
    """
    config = self.config

    def branch(y: jax.Array, number: int) -> jax.Array:
      if config.layer_scale:
        y = LayerScale(name=f"LayerScale_{number}")(y)
      if not (config.stochastic_depth > 0 and train):
        return y
      return drop_path(y, drop_rate, self.make_rng("dropout"))

    x = add_positions(x, shared)
    if self.posemb in posemb.TABLES:
      x = add_positions(x, PositionEmbedding(
          self.posemb, self.grid, name="posembed_input")(*x.shape[1:]))
    x = split_batch(x)
    y = config.layer_norm("LayerNorm_0")(x)
    y = axial.group_by_axis(y, self.axis, self.grid)
    y, weights = MultiHeadAttention(
        config, self.posemb, axial.sequence_grid(self.axis, self.grid),
        name="MultiHeadDotProductAttention_0")(y, train=train, capture=capture)
    y = axial.ungroup(y, self.axis, self.grid)
    y = nn.Dropout(config.dropout)(y, deterministic=not train)
    x = split_batch(x + branch(y, 0))
    y = config.layer_norm("LayerNorm_1")(x)
    y = MlpBlock(config, name="MlpBlock_0")(y, train=train)
    x = split_batch(x + branch(y, 1))
    return x, (None if train else x, weights)


class AxialBlock(nn.Module):
  """Row attention and MLP, then column attention and MLP (D.6, Axial-ViT).

  Takes the place of one global block, at twice its parameters. A table of
  positions of the block's own is added before the rows.

  Attributes: see EncoderBlock.
  """

  config: BlockConfig
  grid: tuple[int, int]
  posemb: str | None = None

  @nn.compact
  def __call__(
      self, x: Float[Array, "b n d"], shared: Float[Array, "1 n d"] | None,
      drop_rate: Any, train: bool, capture: bool,
  ) -> BlockOutput:
    """As EncoderBlock; weights are those of both steps as one (b h n n)."""
    x, (_, by_rows) = EncoderBlock(
        self.config, self.grid, self.posemb, "rows", name="rows")(
            x, shared, drop_rate, train, capture)
    inside = self.posemb if self.posemb in posemb.IN_ATTENTION else None
    x, (_, by_columns) = EncoderBlock(
        self.config, self.grid, inside, "columns", name="columns")(
            x, None, drop_rate, train, capture)
    weights = None
    if by_rows is not None and by_columns is not None:
      weights = axial.combined_weights(by_rows, by_columns, self.grid)
    return x, (None if train else x, weights)

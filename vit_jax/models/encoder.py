"""The Transformer encoder: position embedding, blocks, final norm.

Blocks are pre-norm (paper, equations 2 and 3). They can be rematerialised in
the backward pass and looped with `nn.scan`; both leave the numbers as they
are.
"""

import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.errors import UsageError
from vit_jax.models.attention import MultiHeadAttention
from vit_jax.models.checks import check_choice
from vit_jax.models.posemb import AddPositionEmbedding

REMAT_POLICIES = {
    "none": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}
GELUS = ("tanh", "erf")


def layer_norm(name: str, dtype: Any) -> nn.LayerNorm:
  """Returns the LayerNorm of the paper's code: eps 1e-6, float32 statistics."""
  return nn.LayerNorm(epsilon=1e-6, dtype=dtype, name=name)


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
  weights are None unless captured.
  """

  mlp_dim: int
  num_heads: int
  dropout: float = 0.0
  attention_dropout: float = 0.0
  qkv_bias: bool = True
  gelu: str = "tanh"
  dtype: Any = jnp.float32
  attention: str = "auto"
  stochastic: bool = False

  @nn.compact
  def __call__(
      self, x: Float[Array, "b n d"], drop_rate: Any, train: bool,
      capture: bool,
  ) -> tuple[jax.Array, tuple[jax.Array | None, jax.Array | None]]:
    """Applies the block; `drop_rate` is its stochastic-depth rate."""

    def branch(y: jax.Array) -> jax.Array:
      if not (self.stochastic and train):
        return y
      return drop_path(y, drop_rate, self.make_rng("dropout"))

    y = layer_norm("LayerNorm_0", self.dtype)(x)
    y, weights = MultiHeadAttention(
        self.num_heads, qkv_bias=self.qkv_bias, dropout=self.attention_dropout,
        dtype=self.dtype, implementation=self.attention,
        name="MultiHeadDotProductAttention_0")(y, train=train, capture=capture)
    x = x + branch(nn.Dropout(self.dropout)(y, deterministic=not train))
    y = layer_norm("LayerNorm_1", self.dtype)(x)
    y = MlpBlock(
        self.mlp_dim, self.dropout, self.gelu, self.dtype,
        name="MlpBlock_0")(y, train=train)
    x = x + branch(y)
    return x, (None if train else x, weights)


class Encoder(nn.Module):
  """Adds positions, applies `depth` blocks and the final LayerNorm."""

  depth: int
  mlp_dim: int
  num_heads: int
  posemb: str = "1d"
  dropout: float = 0.0
  attention_dropout: float = 0.0
  stochastic_depth: float = 0.0
  qkv_bias: bool = True
  gelu: str = "tanh"
  dtype: Any = jnp.float32
  attention: str = "auto"
  remat: str = "none"
  scan: bool = False

  @nn.compact
  def __call__(
      self, x: Float[Array, "b n d"], *, train: bool,
      capture_attention: tuple[int, ...] = (),
  ) -> tuple[Float[Array, "b n d"], dict[str, jax.Array]]:
    """Returns the encoded tokens and "block{i}", "attention{i}"."""
    wrong = [i for i in capture_attention if not 0 <= i < self.depth]
    if wrong:
      raise UsageError(
          f"capture_attention names block {wrong[0]}, but there are "
          f"{self.depth} blocks, 0 to {self.depth - 1}")
    x = AddPositionEmbedding(self.posemb, name="posembed_input")(x)
    x = nn.Dropout(self.dropout)(x, deterministic=not train)
    blocks = self._scanned if self.scan else self._unrolled
    x, aux = blocks(x, train, capture_attention)
    return layer_norm("encoder_norm", self.dtype)(x), aux

  def _block(self) -> Any:
    """Returns the block's constructor, rematerialised as configured."""
    check_choice("remat", self.remat, REMAT_POLICIES)
    block = EncoderBlock
    if self.remat != "none":
      # Inside a scan the loop itself keeps XLA from undoing the remat.
      block = nn.remat(
          block, policy=REMAT_POLICIES[self.remat], static_argnums=(3, 4),
          prevent_cse=not self.scan)
    return functools.partial(
        block, mlp_dim=self.mlp_dim, num_heads=self.num_heads,
        dropout=self.dropout, attention_dropout=self.attention_dropout,
        qkv_bias=self.qkv_bias, gelu=self.gelu, dtype=self.dtype,
        attention=self.attention, stochastic=self.stochastic_depth > 0)

  def _rates(self) -> list[float]:
    """Stochastic-depth rates: linear in depth, 0 for the first block."""
    return [
        self.stochastic_depth * i / max(1, self.depth - 1)
        for i in range(self.depth)]

  def _unrolled(
      self, x: jax.Array, train: bool, captured: tuple[int, ...]
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Applies the blocks one by one, each with parameters of its own."""
    aux = {}
    block = self._block()
    for i, rate in enumerate(self._rates()):
      x, (_, weights) = block(name=f"encoderblock_{i}")(
          x, rate, train, i in captured)
      aux[f"block{i}"] = x
      if weights is not None:
        aux[f"attention{i}"] = weights
    return x, aux

  def _scanned(
      self, x: jax.Array, train: bool, captured: tuple[int, ...]
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Applies one block in a loop over parameters stacked along depth."""
    block = self._block()
    scanned = nn.scan(
        block.func, variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(0, nn.broadcast, nn.broadcast), length=self.depth)
    rates = jnp.asarray(self._rates(), jnp.float32)
    x, (outputs, weights) = scanned(**block.keywords, name="encoderblock")(
        x, rates, train, bool(captured))
    aux = {}
    if outputs is not None:
      aux = {f"block{i}": outputs[i] for i in range(self.depth)}
    for i in captured:
      aux[f"attention{i}"] = weights[i]
    return x, aux

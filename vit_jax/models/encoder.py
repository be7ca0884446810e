"""The Transformer encoder: position embedding, blocks, final norm.

Blocks can be rematerialised in the backward pass and looped with `nn.scan`;
both leave the numbers as they are.
"""

import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.errors import UsageError
from vit_jax.models.block import AxialBlock, EncoderBlock, layer_norm
from vit_jax.models.checks import check_choice
from vit_jax.models.posemb import PositionEmbedding, add_positions

REMAT_POLICIES = {
    "none": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}


class Encoder(nn.Module):
  """Adds positions, applies `depth` blocks and the final LayerNorm.

  Attributes are those of `VisionTransformer`; `grid` is the rows and columns
  of patches among the tokens, which come last.
  """

  depth: int
  mlp_dim: int
  num_heads: int
  grid: tuple[int, int]
  block: str = "global"
  posemb: str = "1d"
  posemb_at: str = "stem"
  dropout: float = 0.0
  attention_dropout: float = 0.0
  stochastic_depth: float = 0.0
  qkv_bias: bool = True
  gelu: str = "tanh"
  ln_eps: float = 1e-6
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
    shared = None
    if self.posemb not in ("none", "relative") and self.posemb_at != "layers":
      shared = PositionEmbedding(
          self.posemb, self.grid, name="posembed_input")(*x.shape[1:])
    if self.posemb_at == "stem":
      x, shared = add_positions(x, shared), None
    # At the layers, this is still the one dropout before the first block: the
    # residual stream must not be thinned out again by each of them.
    x = nn.Dropout(self.dropout)(x, deterministic=not train)
    blocks = self._scanned if self.scan else self._unrolled
    x, aux = blocks(x, shared, train, capture_attention)
    return layer_norm("encoder_norm", self.dtype, self.ln_eps)(x), aux

  def _block(self) -> Any:
    """Returns the block's constructor, rematerialised as configured."""
    check_choice("remat", self.remat, REMAT_POLICIES)
    inside = self.posemb == "relative" or self.posemb_at == "layers"
    options = dict(
        mlp_dim=self.mlp_dim, num_heads=self.num_heads,
        dropout=self.dropout, attention_dropout=self.attention_dropout,
        qkv_bias=self.qkv_bias, gelu=self.gelu, ln_eps=self.ln_eps,
        dtype=self.dtype, attention=self.attention,
        stochastic=self.stochastic_depth > 0,
        posemb=self.posemb if inside else None, grid=self.grid)
    block: Any = EncoderBlock
    if self.block == "axial":
      block, options = AxialBlock, {"options": options}
    if self.remat != "none":
      # Inside a scan the loop itself keeps XLA from undoing the remat.
      block = nn.remat(
          block, policy=REMAT_POLICIES[self.remat], static_argnums=(4, 5),
          prevent_cse=not self.scan)
    return functools.partial(block, **options)

  def _rates(self) -> list[float]:
    """Stochastic-depth rates: linear in depth, 0 for the first block."""
    return [
        self.stochastic_depth * i / max(1, self.depth - 1)
        for i in range(self.depth)]

  def _unrolled(
      self, x: jax.Array, shared: jax.Array | None, train: bool,
      captured: tuple[int, ...],
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Applies the blocks one by one, each with parameters of its own."""
    aux = {}
    block = self._block()
    for i, rate in enumerate(self._rates()):
      x, (_, weights) = block(name=f"encoderblock_{i}")(
          x, shared, rate, train, i in captured)
      aux[f"block{i}"] = x
      if weights is not None:
        aux[f"attention{i}"] = weights
    return x, aux

  def _scanned(
      self, x: jax.Array, shared: jax.Array | None, train: bool,
      captured: tuple[int, ...],
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Applies one block in a loop over parameters stacked along depth."""
    block = self._block()
    scanned = nn.scan(
        block.func, variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(nn.broadcast, 0, nn.broadcast, nn.broadcast),
        length=self.depth)
    rates = jnp.asarray(self._rates(), jnp.float32)
    x, (outputs, weights) = scanned(**block.keywords, name="encoderblock")(
        x, shared, rates, train, bool(captured))
    aux = {}
    if outputs is not None:
      aux = {f"block{i}": outputs[i] for i in range(self.depth)}
    for i in captured:
      aux[f"attention{i}"] = weights[i]
    return x, aux

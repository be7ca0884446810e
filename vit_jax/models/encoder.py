"""The Transformer encoder: position embedding, blocks, final norm.

Blocks can be rematerialised in the backward pass and looped with `nn.scan`;
neither changes the numbers.
"""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.config.sections import ModelConfig
from vit_jax.errors import UsageError
from vit_jax.models.block import AxialBlock, BlockConfig, EncoderBlock
from vit_jax.models.posemb import (
    IN_ATTENTION,
    TABLES,
    PositionEmbedding,
    add_positions,
)
from vit_jax.models.remat import rematerialised


class Encoder(nn.Module):
  """Adds positions, applies `depth` blocks and LayerNorms around them.

  Attributes:
    depth: number of blocks.
    config: of all blocks.
    grid: rows and columns of patches among the tokens, which come last.
    block, posemb, posemb_at, pre_norm, final_norm, remat, scan: see
      `VisionTransformer`.
  """

  depth: int
  config: BlockConfig
  grid: tuple[int, int]
  block: str = ModelConfig.block
  posemb: str = ModelConfig.posemb
  posemb_at: str = ModelConfig.posemb_at
  pre_norm: bool = ModelConfig.pre_norm
  final_norm: str = ModelConfig.final_norm
  remat: str = ModelConfig.remat
  scan: bool = ModelConfig.scan

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
    if self.posemb in TABLES and self.posemb_at != "layers":
      shared = PositionEmbedding(
          self.posemb, self.grid, name="posembed_input")(*x.shape[1:])
    if self.posemb_at == "stem":
      x, shared = add_positions(x, shared), None
    # With positions at the layers, too, this dropout is applied once: the
    # residual stream must not be dropped out again by every block.
    x = nn.Dropout(self.config.dropout)(x, deterministic=not train)
    if self.pre_norm:
      x = self.config.layer_norm("pre_norm")(x)
    blocks = self._scanned if self.scan else self._unrolled
    x, aux = blocks(x, shared, train, capture_attention)
    if self.final_norm == "tokens":
      x = self.config.layer_norm("encoder_norm")(x)
    return x, aux

  def _block(self) -> Any:
    """Returns the class of the blocks, rematerialised as configured."""
    block = AxialBlock if self.block == "axial" else EncoderBlock
    # Inside a scan the loop itself keeps XLA from undoing the remat.
    return rematerialised(
        block, self.remat,
        products=jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
        static_argnums=(4, 5), prevent_cse=not self.scan)

  def _block_posemb(self) -> str | None:
    """Returns the kind of position embedding that each block has, or None."""
    in_blocks = self.posemb in IN_ATTENTION or self.posemb_at == "layers"
    return self.posemb if in_blocks else None

  def _rates(self) -> list[float]:
    """Stochastic-depth rates: linear in depth, 0 for the first block."""
    return [
        self.config.stochastic_depth * i / max(1, self.depth - 1)
        for i in range(self.depth)]

  def _unrolled(
      self, x: jax.Array, shared: jax.Array | None, train: bool,
      captured: tuple[int, ...],
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Applies the blocks one by one, each with parameters of its own."""
    aux = {}
    block, posemb = self._block(), self._block_posemb()
    for i, rate in enumerate(self._rates()):
      x, (_, weights) = block(
          self.config, self.grid, posemb, name=f"encoderblock_{i}")(
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
    scanned = nn.scan(
        self._block(), variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(nn.broadcast, 0, nn.broadcast, nn.broadcast),
        length=self.depth)
    rates = jnp.asarray(self._rates(), jnp.float32)
    x, (outputs, weights) = scanned(
        self.config, self.grid, self._block_posemb(), name="encoderblock")(
            x, shared, rates, train, bool(captured))
    aux = {}
    if outputs is not None:
      aux = {f"block{i}": outputs[i] for i in range(self.depth)}
    for i in captured:
      aux[f"attention{i}"] = weights[i]
    return x, aux

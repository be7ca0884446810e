"""From encoded tokens to one vector per image."""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.models.block import BlockConfig, MlpBlock, MultiHeadAttention

POOLINGS = ("cls", "gap", "map", "cls_gap")
# Those that have a class token.
WITH_CLASS_TOKEN = ("cls", "cls_gap")


class MAPHead(nn.Module):
  """Multi-head attention pooling: one learned query over all tokens.

  As in big_vision (Zhai et al., "Scaling Vision Transformers", section 3.2):
  without dropout, and with biases whatever the blocks have.

  Attributes:
    config: of the blocks.
  """

  config: BlockConfig

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b d"]:
    """Returns one vector per image."""
    # One query: a fused kernel has nothing to save.
    plain = "einsum_f32" if self.config.attention == "einsum_f32" else "einsum"
    config = BlockConfig(
        self.config.mlp_dim, self.config.num_heads, gelu=self.config.gelu,
        ln_eps=self.config.ln_eps, dtype=self.config.dtype, attention=plain)
    probe = self.param(
        "probe", nn.initializers.xavier_uniform(), (1, 1, x.shape[-1]),
        jnp.float32)
    probe = jnp.tile(probe.astype(x.dtype), (x.shape[0], 1, 1))
    x, _ = MultiHeadAttention(
        config, name="MultiHeadDotProductAttention_0")(probe, x)
    y = config.layer_norm("LayerNorm_0")(x)
    y = MlpBlock(config, name="MlpBlock_0")(y, train=False)
    return (x + y)[:, 0]


def pool(
    x: Float[Array, "b n d"], kind: str, prefix: int, config: BlockConfig
) -> Float[Array, "b k"]:
  """Reduces encoded tokens to one vector per image, inside a network.

  Args:
    x: encoded tokens.
    kind: one of POOLINGS; "cls_gap" gives 2 d features, the others d.
    prefix: tokens before the patches.
    config: of the blocks, for "map".
  """
  if kind == "cls":
    return x[:, 0]
  if kind == "map":
    return MAPHead(config, name="MAPHead_0")(x[:, prefix:])
  mean = jnp.mean(x[:, prefix:], axis=1)
  return mean if kind == "gap" else jnp.concatenate([x[:, 0], mean], axis=-1)

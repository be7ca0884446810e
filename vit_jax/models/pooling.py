"""From encoded tokens to one vector per image."""

from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.models import block as blocks
from vit_jax.models.attention import MultiHeadAttention

POOLINGS = ("cls", "gap", "map")


class MAPHead(nn.Module):
  """Multi-head attention pooling: one learned query over all tokens.

  As in big_vision (Zhai et al., "Scaling Vision Transformers", section 3.2).
  """

  num_heads: int
  mlp_dim: int
  gelu: str = "tanh"
  ln_eps: float = 1e-6
  dtype: Any = jnp.float32
  attention: str = "auto"

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b d"]:
    """Returns one vector a picture."""
    probe = self.param(
        "probe", nn.initializers.xavier_uniform(), (1, 1, x.shape[-1]),
        jnp.float32)
    probe = jnp.tile(probe.astype(x.dtype), (x.shape[0], 1, 1))
    # One query: nothing for a fused kernel to save.
    plain = "einsum_f32" if self.attention == "einsum_f32" else "einsum"
    x, _ = MultiHeadAttention(
        self.num_heads, dtype=self.dtype, implementation=plain,
        name="MultiHeadDotProductAttention_0")(probe, x)
    y = blocks.layer_norm("LayerNorm_0", self.dtype, self.ln_eps)(x)
    y = blocks.MlpBlock(
        self.mlp_dim, gelu=self.gelu, dtype=self.dtype, name="MlpBlock_0")(
            y, train=False)
    return (x + y)[:, 0]

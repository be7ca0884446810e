"""Position embeddings: what is added to the tokens, and where.

`kind` is what (none or 1d here), `at` is where (the stem). The parameter is
(1, n, d) with the class token's row first, in raster order (paper, section
3.1 and appendix D.4).
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.models.checks import check_choice

KINDS = ("none", "1d")
PLACES = ("stem",)


def check_posemb(kind: str, at: str) -> None:
  """Raises UsageError for a kind or a place that does not exist."""
  check_choice("posemb", kind, KINDS)
  check_choice("posemb_at", at, PLACES)


class AddPositionEmbedding(nn.Module):
  """Adds a learned embedding, one row a token (std 0.02 at the start)."""

  kind: str = "1d"

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    """Returns x plus its position embedding, in the dtype of x."""
    if self.kind == "none":
      return x
    table = self.param(
        "pos_embedding", nn.initializers.normal(stddev=0.02),
        (1, *x.shape[1:]), jnp.float32)
    return x + jnp.broadcast_to(table.astype(x.dtype), x.shape)

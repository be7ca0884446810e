"""What is done inside of a residual branch: GELU, scale, stochastic depth."""

from typing import Any

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.models.checks import check_choice

GELUS = ("tanh", "erf", "quick")


def activation(x: Float[Array, "b n d"], form: str) -> Float[Array, "b n d"]:
  """Returns GELU in one of its forms, see GELUS.

  "quick" is x sigmoid(1.702 x), which CLIP's released weights were trained
  with (Hendrycks and Gimpel, "Gaussian Error Linear Units", section 2).
  """
  check_choice("gelu", form, GELUS)
  if form == "quick":
    return x * nn.sigmoid(1.702 * x)
  return nn.gelu(x, approximate=form == "tanh")


class LayerScale(nn.Module):
  """Multiplies each feature of a residual branch by a learned number.

  Touvron et al., "Going deeper with Image Transformers", section 2.1; starts at
  1e-5, as DINOv2's.
  """

  @nn.compact
  def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
    """Returns the same shape."""
    scale = self.param("scale", nn.initializers.constant(1e-5),
                       (x.shape[-1],), jnp.float32)
    return x * scale.astype(x.dtype)[None, None]


def drop_path(
    x: Float[Array, "b n d"], rate: Any, key: jax.Array
) -> Float[Array, "b n d"]:
  """Drops the whole residual branch of some examples, scaling the others.

  Stochastic depth (Huang et al. 2016) as AugReg uses it; `rate` is the
  probability of dropping. The expectation over keys is x.
  """
  chex.assert_rank(x, 3)
  keep = 1.0 - rate
  mask = jax.random.bernoulli(key, keep, (x.shape[0], 1, 1))
  return jnp.where(mask, x / jnp.asarray(keep, x.dtype), jnp.zeros_like(x))

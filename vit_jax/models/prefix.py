"""The learned tokens before the patches."""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


def with_prefix(
    module: nn.Module, x: Float[Array, "b n d"], *, registers: int,
    class_token: bool,
) -> Float[Array, "b m d"]:
  """Puts class token and registers before the patches (b n d).

  Args:
    module: whose parameters they become, "cls" and "registers".
    x: embedded patches.
    registers: how many.
    class_token: whether there is one, the first.
  """
  for name, count, initializer in (
      ("registers", registers, nn.initializers.normal(stddev=0.02)),
      ("cls", int(class_token), nn.initializers.zeros)):
    if count:
      shape = (1, count, x.shape[-1])
      token = module.param(name, initializer, shape, jnp.float32)
      token = jnp.broadcast_to(
          token.astype(x.dtype), (x.shape[0], *shape[1:]))
      x = jnp.concatenate([token, x], axis=1)
  return x

"""The jitted forward pass: what every caller but training uses."""

from typing import Any

import jax
from jax.sharding import Mesh

from vit_jax.devices.sharding import batch_sharding, over
from vit_jax.models.inputs import normalize
from vit_jax.models.network import Network


def make_predict_fn(
    model: Network, mesh: Mesh | None = None, shardings: Any = None
) -> jax.stages.Wrapped:
  """Returns the jitted (params, images b h w c in 0..255) -> logits (b k)."""

  def predict(params: Any, images: jax.Array) -> jax.Array:
    logits, _ = model.apply(
        {"params": params}, normalize(images, model.dtype), train=False)
    return logits

  if mesh is None:
    return jax.jit(predict)
  return jax.jit(over(mesh, predict),
                 in_shardings=(shardings, batch_sharding(mesh)),
                 out_shardings=batch_sharding(mesh))

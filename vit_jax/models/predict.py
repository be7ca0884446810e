"""The jitted forward pass: what every caller but training uses."""

from typing import Any

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Num

from vit_jax.devices.partition import over
from vit_jax.devices.sharding import batch_sharding
from vit_jax.models.inputs import normalize
from vit_jax.models.network import Network


def make_predict_fn(
    model: Network, mesh: Mesh | None = None, shardings: Any = None, *,
    flip: bool = False,
) -> jax.stages.Wrapped:
  """Returns the jitted (params, images b h w c in 0..255) -> logits (b k).

  Args:
    model: with a head.
    mesh: with `shardings`, of the parameters, where everything lies.
    shardings: see mesh.
    flip: see `logits_of`.
  """

  def predict(params: Any, images: jax.Array) -> jax.Array:
    return logits_of(
        model, params, normalize(images, model.dtype), flip=flip)

  if mesh is None:
    return jax.jit(predict)
  return jax.jit(over(mesh, predict),
                 in_shardings=(shardings, batch_sharding(mesh)),
                 out_shardings=batch_sharding(mesh))


def logits_of(
    model: Network, params: Any, images: Num[Array, "b h w c"], *,
    flip: bool = False,
) -> Float[Array, "b k"]:
  """Returns the logits of images as the model takes them.

  Args:
    model: with a head.
    params: of the model.
    images: floats in [-1, 1].
    flip: return the mean of the logits of each picture and of its mirror image
      (left and right exchanged). With softmax it is the geometric mean of the
      two probabilities, normalised.
  """
  logits, _ = model.apply({"params": params}, images, train=False)
  if not flip:
    return logits
  mirrored, _ = model.apply(
      {"params": params}, images[:, :, ::-1], train=False)
  return (logits + mirrored) / 2

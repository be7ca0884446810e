"""What a training step holds in memory, from shapes alone: nothing is compiled.

The compiler fuses operations and keeps less than what automatic differentiation
asks for, so the activations are an upper bound; `vit_jax compile` asks it.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from vit_jax.config import schema
from vit_jax.config.sections import TrainConfig
from vit_jax.models.network import Network
from vit_jax.models.variants import make_model
from vit_jax.objectives import make_loss, trained_model
from vit_jax.optim import make_optimizer
from vit_jax.training.state import state_maker


@dataclasses.dataclass(frozen=True)
class Outline:
  """A network that has no weights yet, and what training it takes.

  Attributes:
    model: the network.
    parameters: name -> shape and dtype of each array.
    parameter_bytes, gradient_bytes: of one copy.
    optimizer_bytes: of the optimiser's state.
    average_bytes: of the average of the weights, 0 where none is kept.
    activation_bytes: kept for the backward pass of one image, at most.
    dtype: in which the network computes.
  """

  model: Network
  parameters: dict[str, jax.ShapeDtypeStruct]
  parameter_bytes: int
  gradient_bytes: int
  optimizer_bytes: int
  average_bytes: int
  activation_bytes: int
  dtype: str


def outline(config: ConfigDict, num_classes: int) -> Outline:
  """Returns the network that a config trains, and what it holds in memory.

  Args:
    config: resolved and completed. A dtype of "auto" means bfloat16, as on
      TPUs and GPUs.
    num_classes: of the data.

  Raises:
    UsageError: the config does not fit itself.
  """
  keys = config.model.to_dict()
  keys["num_classes"] = keys["num_classes"] or num_classes
  if keys["dtype"] == "auto":
    keys["dtype"] = "bfloat16"
  model = trained_model(make_model(**keys), **config.objective)
  optimizer, _ = make_optimizer(total_steps=1_000_000, **config.optim)
  train = TrainConfig(**config.train)
  state = jax.eval_shape(state_maker(
      model, optimizer, image_size=schema.image_size(config), seed=0,
      ema=train.ema_decay is not None))
  params = {"/".join(str(key.key) for key in path): leaf for path, leaf in
            jax.tree_util.tree_leaves_with_path(state.params)}
  return Outline(
      model=model, parameters=params, parameter_bytes=_bytes(state.params),
      gradient_bytes=_bytes(state.params),
      optimizer_bytes=_bytes(state.opt_state), average_bytes=_bytes(state.ema),
      activation_bytes=_kept(config, model, state.params, 2) - _kept(
          config, model, state.params, 1),
      dtype=keys["dtype"])


def _kept(config: ConfigDict, model: Network, params: Any, count: int) -> int:
  """Returns the bytes that the backward pass of so many images needs."""
  keys = config.objective.to_dict() | {"class_weights": ()}
  loss = make_loss(model, **keys)

  def residuals(params: Any, images: jax.Array, labels: jax.Array) -> Any:
    batch, rng = {"image": images, "label": labels}, jax.random.key(0)
    return jax.vjp(lambda p: loss(p, batch, rng)[0], params)[1]

  return _bytes(jax.eval_shape(
      residuals, params,
      jax.ShapeDtypeStruct((count, *schema.image_size(config), 3), jnp.uint8),
      jax.ShapeDtypeStruct((count,), jnp.int32)))


def _bytes(tree: Any) -> int:
  return sum(math.prod(x.shape) * x.dtype.itemsize
             for x in jax.tree.leaves(tree))

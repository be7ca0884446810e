"""What a training run consists of: step, parameters, optimiser, average."""

from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import optax

from vit_jax.devices.partition import over
from vit_jax.devices.sharding import put_tree, tree_shardings
from vit_jax.models.network import Network
from vit_jax.objectives.streams import fold_in_stream


@chex.dataclass(frozen=True)
class TrainState:
  """The whole state; everything else is a function of it and the config.

  Checkpoints store each attribute under its name.

  Attributes:
    step: int32 (), updates completed, the only counter of a run.
    params: float32 parameters under the released names.
    opt_state: of the optax optimiser.
    ema: Polyak average of the parameters, or None; at step 0, before there is
      one, the parameters.
  """

  step: jax.Array
  params: Any
  opt_state: Any
  ema: Any = None


def stream_key(
    seed: int, stream: str, step: int | jax.Array
) -> jax.Array:
  """Returns the key of a random stream at a step; no key is ever stored.

  Args:
    seed: of the run.
    stream: one of `vit_jax.objectives.streams.STREAMS`.
    step: updates completed, an integer or an int32 array ().
  """
  return jax.random.fold_in(
      fold_in_stream(jax.random.key(seed), stream), step)


def state_maker(
    model: Network,
    optimizer: optax.GradientTransformation,
    *,
    image_size: Sequence[int],
    seed: int,
    ema: bool,
) -> Callable[..., TrainState]:
  """Returns make(params=None) -> TrainState at step 0, ready to be jitted."""

  def make(params: Any = None) -> TrainState:
    if params is None:
      params = model.init(
          stream_key(seed, "init", 0), jnp.zeros((1, *image_size, 3)))["params"]
    # The average starts as a copy: donated buffers must not be shared.
    average = jax.tree.map(jnp.copy, params) if ema else None
    return TrainState(
        step=jnp.zeros((), jnp.int32), params=params,
        opt_state=optimizer.init(params), ema=average)

  return make


def abstract_state(make: Callable[..., TrainState], mesh: Mesh) -> TrainState:
  """Returns shapes, dtypes and shardings of the state, without any array."""
  shapes = jax.eval_shape(over(mesh, make))
  return jax.tree.map(
      lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
      shapes, tree_shardings(shapes, mesh))


def create_state(
    make: Callable[..., TrainState], abstract: TrainState, params: Any = None
) -> TrainState:
  """Creates the state at step 0, sharded from the first moment.

  Args:
    make: see `state_maker`.
    abstract: see `abstract_state`.
    params: host arrays to start from (the same on every process), or None to
      initialise.
  """
  shardings = jax.tree.map(lambda x: x.sharding, abstract)
  if params is None:
    return jax.jit(make, out_shardings=shardings)()
  placed = put_tree(params, shardings.params)
  return jax.jit(make, out_shardings=shardings)(placed)

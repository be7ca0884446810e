"""One update of the parameters, jitted."""

from collections.abc import Callable, Mapping
import math
from typing import Any

import chex
import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import optax

from vit_jax.config.sections import TrainConfig
from vit_jax.devices.partition import over, split_batch
from vit_jax.devices.sharding import batch_sharding
from vit_jax.objectives import LossFn
from vit_jax.optim import Schedule
from vit_jax.training.state import TrainState, stream_key

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


def check_batch(batch: Batch) -> None:
  """Asserts that a batch has images (b h w c) and whole-number labels (b,).

  Only shapes and dtypes are looked at, once, when a step is traced.
  """
  chex.assert_rank([batch["image"], batch["label"]], [4, 1])
  chex.assert_equal_shape_prefix([batch["image"], batch["label"]], 1)
  chex.assert_type(batch["label"], int)


def polyak(
    average: Any, params: Any, decay: float, count: int | jax.Array
) -> Any:
  """Moves the average of the weights by one update (paper, section 4.1).

  average + share * (params - average) with share = (1 - d) / (1 - d**count):
  after t updates the weights of update i count as d**(t - i), divided by the
  sum of these. Neither the weights of the start nor zeros are in it, as if an
  average from zero were divided by 1 - d**t (Adam's correction; Kingma and Ba
  2015, section 3). A share of 1 - d alone would leave d**t of the start: 55 %
  after 300 updates with 0.998.

  Args:
    average: after count - 1 updates; of no account where count is 1.
    params: after this update.
    decay: d, 0 or more and below 1.
    count: updates completed, this one too.
  """
  # By expm1: 1 - d**count in float32 has three digits left for d = 0.9999.
  log_decay = math.log(decay) if decay else -math.inf
  share = jnp.minimum(
      1.0, (1.0 - decay) / -jnp.expm1(log_decay * jnp.float32(count)))
  share = jnp.where(count == 1, 1.0, share)
  return jax.tree.map(
      lambda a, p: (1.0 - share) * a + share * p, average, params)


def accumulated_gradients(
    loss_fn: LossFn, params: Any, batch: Batch, rng: jax.Array, count: int
) -> tuple[jax.Array, Metrics, Any]:
  """Returns mean loss, mean metrics and mean gradient over micro-batches.

  Micro-batch i takes rows i, i + count, ...: in that order every device keeps
  the rows that it holds, and no example moves. Each has a key of its own.
  """
  gradient = jax.value_and_grad(loss_fn, has_aux=True)
  if count == 1:
    (loss, metrics), grads = gradient(params, batch, rng)
    return loss, metrics, grads

  def micro_batches(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0] // count, count, *x.shape[1:]).swapaxes(0, 1)

  def one(total: Any, xs: tuple[jax.Array, Batch]) -> tuple[Any, None]:
    index, micro = xs
    (loss, metrics), grads = gradient(
        params, jax.tree.map(split_batch, micro),
        jax.random.fold_in(rng, index))
    return jax.tree.map(jnp.add, total, (loss, metrics, grads)), None

  xs = (jnp.arange(count), jax.tree.map(micro_batches, batch))
  shapes = jax.eval_shape(
      lambda xs: gradient(params, jax.tree.map(lambda x: x[0], xs[1]), rng), xs)
  (loss, metrics), grads = shapes
  zero = jax.tree.map(
      lambda x: jnp.zeros(x.shape, x.dtype), (loss, metrics, grads))
  total, _ = lax.scan(one, zero, xs)
  return jax.tree.map(lambda x: x / count, total)


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    schedule: Schedule,
    *,
    seed: int = TrainConfig.seed,
    accumulate: int = TrainConfig.accumulate,
    ema_decay: float | None = TrainConfig.ema_decay,
    mesh: Mesh | None = None,
    shardings: Any = None,
    compiler_options: Mapping[str, str] | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
  """Returns the jitted update; it takes over (donates) the state's memory.

  Args:
    loss_fn: see `vit_jax.objectives`.
    optimizer: see `vit_jax.optim`.
    schedule: learning rate of a step, for the metrics.
    seed: of dropout; the key of step t is a function of (seed, t) alone.
    accumulate: micro-batches a batch is cut into.
    ema_decay: decay of the average of the weights, see `polyak`; None for no
      average.
    mesh: with `shardings`, where batch and metrics lie.
    shardings: a TrainState of NamedShardings.
    compiler_options: of XLA, see `vit_jax.devices.compilation`.

  Returns:
    (state, batch) -> (state after one more update, metrics of that update):
    loss, accuracy, learning_rate, grad_norm, param_norm, update_norm.
  """

  def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    check_batch(batch)
    rng = stream_key(seed, "dropout", state.step)
    loss, metrics, grads = accumulated_gradients(
        loss_fn, state.params, batch, rng, accumulate)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = state.ema
    if ema_decay is not None:
      ema = polyak(ema, params, ema_decay, state.step + 1)
    metrics = metrics | {
        "loss": loss,
        "learning_rate": schedule(state.step),
        "grad_norm": optax.global_norm(grads),
        "param_norm": optax.global_norm(params),
        "update_norm": optax.global_norm(updates),
    }
    state = TrainState(
        step=state.step + 1, params=params, opt_state=opt_state, ema=ema)
    return state, metrics

  if mesh is None:
    return jax.jit(step, donate_argnums=0)
  whole = NamedSharding(mesh, PartitionSpec())
  return jax.jit(
      over(mesh, step), donate_argnums=0,
      in_shardings=(shardings, batch_sharding(mesh)),
      out_shardings=(shardings, whole),
      compiler_options=dict(compiler_options or {}) or None)

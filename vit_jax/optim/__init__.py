"""Optimisers (paper, section 4.1, tables 3 and 4).

Weight decay is decoupled and multiplied by the scheduled learning rate, as in
the code that trained the released models: param -= rate * decay * param.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vit_jax.config.sections import OptimConfig
from vit_jax.errors import UsageError
from vit_jax.optim.checks import check_choice
from vit_jax.optim.parameters import decay_mask, frozen_labels, layer_factors
from vit_jax.optim.schedule import Schedule, make_schedule

__all__ = [
    "Schedule", "decay_mask", "frozen_labels", "layer_factors",
    "make_optimizer", "make_schedule"]


def make_optimizer(
    *,
    total_steps: int,
    name: str = OptimConfig.name,
    learning_rate: float = OptimConfig.learning_rate,
    schedule: str = OptimConfig.schedule,
    warmup_steps: int = OptimConfig.warmup_steps,
    warmup_share: float | None = OptimConfig.warmup_share,
    linear_end: float = OptimConfig.linear_end,
    boundaries: Sequence[float] = OptimConfig.boundaries,
    weight_decay: float = OptimConfig.weight_decay,
    decay: str = OptimConfig.decay,
    decay_at: str = OptimConfig.decay_at,
    clip_norm: float | None = OptimConfig.clip_norm,
    beta1: float = OptimConfig.beta1,
    beta2: float = OptimConfig.beta2,
    eps: float = OptimConfig.eps,
    momentum: float = OptimConfig.momentum,
    momentum_dtype: str = OptimConfig.momentum_dtype,
    frozen: Sequence[str] = OptimConfig.frozen,
    layer_decay: float | None = OptimConfig.layer_decay,
) -> tuple[optax.GradientTransformation, Schedule]:
  """Returns the optimiser and its schedule.

  Args:
    total_steps: updates of the whole run.
    name: "adam" (pre-training) or "sgd" (fine-tuning, with momentum).
    learning_rate, schedule, warmup_steps, warmup_share: see `make_schedule`.
    linear_end, boundaries: likewise.
    weight_decay, decay: see the module and `decay_mask`.
    decay_at: "update", see the module; or "gradient", which adds decay * param
      to the (clipped) gradient and so to the momentum: BiT's SGD.
    clip_norm: largest global norm of the gradient, None for no clipping.
    beta1, beta2, eps, momentum: of Adam, and of SGD.
    momentum_dtype: dtype of the first moment; "auto" is bfloat16 for SGD, as
      the released models were fine-tuned, and float32 for Adam.
    frozen: see `frozen_labels`; frozen parameters get no update, no decay and
      no optimiser state, and do not count in the norm.
    layer_decay: see `layer_factors`; None for one rate.

  Raises:
    UsageError: a choice is unknown, or a pattern matches no parameter.
  """
  rate = make_schedule(
      learning_rate=learning_rate, schedule=schedule, total_steps=total_steps,
      warmup_steps=warmup_steps, warmup_share=warmup_share,
      linear_end=linear_end, boundaries=boundaries)
  direction = _direction(name, momentum_dtype, beta1=beta1, beta2=beta2,
                         eps=eps, momentum=momentum)
  clip = [] if clip_norm is None else [optax.clip_by_global_norm(clip_norm)]
  optimizer = optax.chain(
      *clip, *_with_decay(direction, weight_decay, decay, decay_at),
      optax.scale_by_learning_rate(rate))
  if frozen:
    optimizer = optax.multi_transform(
        {"trained": optimizer, "frozen": optax.set_to_zero()},
        lambda params: frozen_labels(params, frozen))
  if layer_decay is not None:
    optimizer = optax.chain(optimizer, _scale_by_layer(layer_decay))
  return optimizer, rate


def _direction(
    name: str, momentum_dtype: str, *, beta1: float, beta2: float, eps: float,
    momentum: float,
) -> optax.GradientTransformation:
  """Returns what turns gradients into a direction: Adam, or SGD's momentum."""
  check_choice("name", name, ("adam", "sgd"))
  check_choice(
      "momentum_dtype", momentum_dtype, ("auto", "float32", "bfloat16"))
  if momentum_dtype == "auto":
    momentum_dtype = "float32" if name == "adam" else "bfloat16"
  if name == "adam":
    return optax.scale_by_adam(
        b1=beta1, b2=beta2, eps=eps, mu_dtype=momentum_dtype)
  return optax.trace(decay=momentum, accumulator_dtype=momentum_dtype)


def _with_decay(
    direction: optax.GradientTransformation, weight_decay: float, decay: str,
    decay_at: str,
) -> list[optax.GradientTransformation]:
  """Returns the direction with weight decay, if any, before or after it."""
  check_choice("decay", decay, ("kernels", "all"))
  check_choice("decay_at", decay_at, ("update", "gradient"))
  if not weight_decay:
    return [direction]
  decayed = optax.add_decayed_weights(
      weight_decay, mask=lambda params: decay_mask(params, decay))
  if decay_at == "gradient":
    return [decayed, direction]
  return [direction, decayed]


def _scale_by_layer(layer_decay: float) -> optax.GradientTransformation:
  """Returns what multiplies each update by its factor; it has no state.

  Raises:
    UsageError: the number is out of range, or (at init) there are no blocks.
  """
  if not 0 < layer_decay <= 1:
    raise UsageError(
        f"optim.layer_decay={layer_decay}: the factor of the learning rate "
        "from each layer to the one below was expected, above 0 and at most "
        "1, such as 0.75")

  def init(params: Any) -> optax.EmptyState:
    layer_factors(params, layer_decay)
    return optax.EmptyState()

  def update(
      updates: Any, state: optax.EmptyState, params: Any = None
  ) -> tuple[Any, optax.EmptyState]:
    del params
    return jax.tree.map(
        jnp.multiply, updates, layer_factors(updates, layer_decay)), state

  return optax.GradientTransformation(init, update)

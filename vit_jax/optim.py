"""Schedules and optimisers (paper, section 4.1, tables 3 and 4).

Weight decay is decoupled and multiplied by the scheduled learning rate, as in
the code that trained the released models: param -= rate * decay * param.
"""

from collections.abc import Callable, Sequence
import itertools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vit_jax.config.schema import OptimConfig
from vit_jax.devices.sharding import path_name
from vit_jax.errors import UsageError, suggest

Schedule = Callable[[Any], jax.Array]
SCHEDULES = ("cosine", "linear", "staircase", "constant")
_BLOCK = "Transformer/encoderblock"
# What lies below the blocks; a hybrid's stem has conv_root, gn_root, block1 ...
_EMBEDDED = re.compile(
    r"(cls$|mask_embedding$|embedding/|Transformer/posembed_input/"
    r"|conv_root/|gn_root/|block\d+/)")


def make_schedule(
    *,
    learning_rate: float,
    schedule: str,
    warmup_steps: int,
    total_steps: int,
    warmup_share: float | None = OptimConfig.warmup_share,
    linear_end: float = OptimConfig.linear_end,
    boundaries: Sequence[float] = OptimConfig.boundaries,
) -> Schedule:
  """Returns step -> learning rate: warm-up from zero times a decay.

  With p = clip((step - warmup) / (total - warmup), 0, 1), the rate is
  min(1, step / warmup) times (a warmup_share replaces warmup_steps)

    cosine: base * (1 + cos(pi p)) / 2, to zero
    linear: linear_end + (base - linear_end) * (1 - p)
    staircase: base / 10 ** (the boundaries that step / total has reached)
    constant: base

  Raises:
    UsageError: the schedule is unknown, warmup_steps exceeds total_steps, or
      boundaries are not increasing fractions of the run or are given to
      another schedule.
  """
  _check_choice("schedule", schedule, SCHEDULES)
  if warmup_share is not None:
    warmup_steps = round(warmup_share * total_steps)
  if not 0 <= warmup_steps <= total_steps:
    raise UsageError(
        f"optim.warmup_steps={warmup_steps} must lie between 0 and the "
        f"{total_steps} steps of the run")
  edges = tuple(boundaries)
  increasing = all(a < b for a, b in itertools.pairwise((0.0, *edges, 1.0)))
  if bool(edges) != (schedule == "staircase") or not increasing:
    raise UsageError(
        f"optim.boundaries={edges} with optim.schedule={schedule!r}: the "
        "staircase, and no other schedule, takes increasing fractions of the "
        "run, such as (0.25, 0.575, 0.75, 0.925)")

  def rate(step: Any) -> jax.Array:
    step = jnp.asarray(step, jnp.float32)
    progress = jnp.clip(
        (step - warmup_steps) / max(1.0, float(total_steps - warmup_steps)),
        0.0, 1.0)
    if schedule == "cosine":
      value = learning_rate * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
    elif schedule == "linear":
      value = linear_end + (learning_rate - linear_end) * (1.0 - progress)
    elif schedule == "staircase":
      reached = step[..., None] >= jnp.asarray(edges) * total_steps
      value = learning_rate * 0.1 ** jnp.sum(reached, axis=-1)
    else:
      value = jnp.full_like(progress, learning_rate)
    if warmup_steps:
      value = value * jnp.minimum(1.0, step / warmup_steps)
    return value

  return rate


def decay_mask(params: Any, decay: str) -> Any:
  """Returns a tree of booleans: which parameters are decayed.

  Args:
    params: the parameters.
    decay: "kernels" (names that end in "kernel") or "all" (every parameter,
      the other reading of the paper).
  """
  return jax.tree_util.tree_map_with_path(
      lambda path, _: decay == "all" or path_name(path).endswith("kernel"),
      params)


def frozen_labels(params: Any, frozen: Sequence[str]) -> Any:
  """Labels each parameter "frozen" or "trained" by regular expressions.

  A pattern is searched in the name, such as "Transformer/.*" or "^embedding".

  Raises:
    UsageError: a pattern matches no parameter.
  """
  names = [path_name(path)
           for path, _ in jax.tree_util.tree_leaves_with_path(params)]
  for pattern in frozen:
    if not any(re.search(pattern, name) for name in names):
      raise UsageError(
          f"optim.frozen: {pattern!r} matches no parameter; names look like "
          f"{names[0]!r}")

  def label(path: Sequence[Any], _: Any) -> str:
    hit = any(re.search(p, path_name(path)) for p in frozen)
    return "frozen" if hit else "trained"

  return jax.tree_util.tree_map_with_path(label, params)


def layer_factors(params: Any, layer_decay: float) -> Any:
  """Returns a tree of factors of the learning rate, one for each parameter.

  Weight decay, which the rate multiplies, is reduced with it. With layers
  numbered from the images up, a parameter of layer i of a model of
  L blocks has the factor layer_decay ** (L + 1 - i) (BEiT, Bao et al. 2021,
  appendix, as in MAE's fine-tuning, He et al. 2021, appendix A.1):

    0        patch and position embeddings, class and mask tokens, ResNet stem
    1 ... L  the blocks
    L + 1    the last LayerNorm, MAP head, hidden layer, head: factor 1

  Args:
    params: of a Vision Transformer or a hybrid, blocks stacked or not.
    layer_decay: above 0, at most 1.

  Returns:
    Floats; of stacked blocks, arrays (L, 1, ...) that fit the parameter.

  Raises:
    UsageError: there are no such blocks.
  """
  named = [(path_name(path), leaf)
           for path, leaf in jax.tree_util.tree_leaves_with_path(params)]
  blocks = [int(match[1]) + 1 for name, _ in named
            if (match := re.match(_BLOCK + r"_(\d+)/", name))]
  # Stacked along depth by model.scan.
  blocks += [leaf.shape[0] for name, leaf in named
             if name.startswith(_BLOCK + "/")]
  if not blocks:
    raise UsageError(
        f"optim.layer_decay={layer_decay} is about the blocks of a Vision "
        "Transformer, which this model does not have; leave it out")
  depth = max(blocks)

  def factor(path: Sequence[Any], leaf: Any) -> Any:
    name = path_name(path)
    if match := re.match(_BLOCK + r"_(\d+)/", name):
      return layer_decay ** (depth - int(match[1]))
    if name.startswith(_BLOCK + "/"):
      factors = layer_decay ** np.arange(depth, 0, -1, dtype=np.float64)
      return factors.astype(np.float32).reshape(
          depth, *[1] * (len(leaf.shape) - 1))
    return layer_decay ** (depth + 1) if _EMBEDDED.match(name) else 1.0

  return jax.tree_util.tree_map_with_path(factor, params)


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


def _check_choice(key: str, value: str, choices: Sequence[str]) -> None:
  """Raises UsageError unless the value of optim.KEY is one of the choices."""
  if value not in choices:
    # The names that other libraries give to what is here.
    known = {"adamw": "; adam with optim.weight_decay is AdamW",
             "momentum": "; sgd has momentum"}.get(value.lower(), "")
    raise UsageError(
        f"optim.{key}={value!r} is unknown{suggest(value, choices)}; it is "
        f"{', '.join(choices[:-1])} or {choices[-1]}{known}")


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
  _check_choice("name", name, ("adam", "sgd"))
  _check_choice(
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
  _check_choice("decay", decay, ("kernels", "all"))
  _check_choice("decay_at", decay_at, ("update", "gradient"))
  if not weight_decay:
    return [direction]
  decayed = optax.add_decayed_weights(
      weight_decay, mask=lambda params: decay_mask(params, decay))
  if decay_at == "gradient":
    return [decayed, direction]
  return [direction, decayed]

"""Learning rate schedules (paper, section 4.1, tables 3 and 4)."""

from collections.abc import Callable, Sequence
import itertools
from typing import Any

import jax
import jax.numpy as jnp

from vit_jax.config.sections import OptimConfig
from vit_jax.errors import UsageError
from vit_jax.optim.checks import check_choice

Schedule = Callable[[Any], jax.Array]
SCHEDULES = ("cosine", "linear", "staircase", "constant")


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
  check_choice("schedule", schedule, SCHEDULES)
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

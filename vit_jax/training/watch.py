"""Watches the evaluations: which step was the best, and when to stop early.

What it knows is kept in the note of every checkpoint, so that a resumed run
decides as one that was not interrupted, and every process alike.
"""

from collections.abc import Iterable, Mapping
import math
from typing import Any

from vit_jax.config.sections import CheckpointConfig, TrainConfig
from vit_jax.errors import UsageError, suggest

# Ends of the names of what is better the smaller it is.
_SMALLER_IS_BETTER = ("loss", "nll", "ece", "error")


def smaller_is_better(metric: str) -> bool:
  """Tells whether a metric such as "val/loss" is to be minimised."""
  return metric.endswith(_SMALLER_IS_BETTER)


def is_better(
    metric: str, value: float, before: float | None, min_delta: float = 0.0
) -> bool:
  """Tells whether a value beats an earlier one by more than min_delta.

  Anything that is a number beats None; what is not a number beats nothing.
  """
  if math.isnan(value) or before is None:
    return not math.isnan(value)
  gain = before - value if smaller_is_better(metric) else value - before
  return gain > min_delta


class Watch:
  """The best step for checkpoint.keep_best, and train.early_stopping.

  Attributes:
    stopped: whether early stopping has ended the run.
  """

  def __init__(
      self,
      note: dict[str, Any],
      known: Iterable[str],
      *,
      keep_best: str = CheckpointConfig.keep_best,
      early_stopping: str = TrainConfig.early_stopping,
      patience: int = TrainConfig.patience,
      min_delta: float = TrainConfig.min_delta,
  ) -> None:
    """Continues from the note of a run.

    Args:
      note: of the run; "best" and "early_stopping" are changed in place.
      known: metrics of the evaluations, such as "val/accuracy".
      keep_best: metric whose best step is kept, "" for none. Losses and errors
        are minimised, everything else is maximised. Of equals the first is the
        best.
      early_stopping: metric that ends the run when it improves no more, "" for
        none.
      patience: so many evaluations in a row without an improvement end it.
      min_delta: an improvement is more than this, in the metric's own unit,
        over the best value before.

    Raises:
      UsageError: a metric that no evaluation has.
    """
    known = list(known)
    for key, metric in (("checkpoint.keep_best", keep_best),
                        ("train.early_stopping", early_stopping)):
      if metric and metric not in known:
        raise UsageError(
            f"config.{key}={metric!r} is no metric of config.evals"
            f"{suggest(metric, known)}; known: {', '.join(known) or 'none'}")
    self._note, self._keep_best = note, keep_best
    self._early_stopping = early_stopping
    self._patience, self._min_delta = patience, min_delta

  @property
  def best_step(self) -> int | None:
    """The step with the best value so far, None before the first."""
    return self._state("best", self._keep_best).get("step")

  @property
  def stopped(self) -> bool:
    """Whether the patience is at an end."""
    state = self._state("early_stopping", self._early_stopping)
    return bool(state) and state["waited"] >= self._patience

  def update(self, step: int, scores: Mapping[str, float]) -> bool:
    """Takes in the scores of a step; returns whether it is the best one.

    Args:
      step: updates completed.
      scores: such as {"val/accuracy": 0.9}.
    """
    self._count(step, scores)
    metric = self._keep_best
    before = self._state("best", metric)
    if not metric or not is_better(
        metric, scores[metric], before.get("value")):
      return False
    self._note["best"] = {
        "metric": metric, "step": step, "value": scores[metric]}
    return True

  def _count(self, step: int, scores: Mapping[str, float]) -> None:
    """Counts the evaluations since the last improvement."""
    metric = self._early_stopping
    if not metric:
      return
    before = self._state("early_stopping", metric) or {
        "metric": metric, "step": None, "value": None, "waited": 0}
    if is_better(metric, scores[metric], before["value"], self._min_delta):
      state = {"step": step, "value": scores[metric], "waited": 0}
    else:
      state = {"waited": before["waited"] + 1}
    self._note["early_stopping"] = before | state

  def _state(self, key: str, metric: str) -> dict[str, Any]:
    """Returns what is known of a metric; {} if it was another one before."""
    state = self._note.get(key) or {}
    return state if metric and state.get("metric") == metric else {}

  def why_stopped(self) -> str:
    """Returns the reason for people, such as "val/loss has not ..."."""
    state = self._state("early_stopping", self._early_stopping)
    since = "at all" if state["step"] is None else (
        f"since step {state['step']} ({state['value']:.4f})")
    by = f" by more than {self._min_delta:g}" if self._min_delta else ""
    return (f"{self._early_stopping} has not improved{by} in "
            f"{state['waited']} evaluations, {since}")

"""Each step's numbers: read one step late, checked, some of them written."""

import time

import jax
import numpy as np

from vit_jax.config import schema
from vit_jax.errors import UserError
from vit_jax.metrics import MetricWriter, Progress
from vit_jax.models import cost
from vit_jax.training.setup import Run


class TrainingDiverged(UserError):
  """The loss or the gradient is no longer finite; the run has stopped."""


class StepLog:
  """Reads each step's metrics, checks them, and writes every log_every-th."""

  def __init__(
      self, run: Run, writer: MetricWriter, progress: Progress
  ) -> None:
    self.pending: tuple[int, dict[str, jax.Array]] | None = None
    self._run, self._writer, self._progress = run, writer, progress
    self._clock: tuple[int, float] | None = None
    size = schema.image_size(run.config)
    self._flops = cost.train_flops(run.program.model, size)

  def flush(self) -> None:
    """Reads what is pending; raises TrainingDiverged unless it is finite."""
    if self.pending is None:
      return
    step, metrics = self.pending
    self.pending = None
    values = {k: float(v) for k, v in jax.device_get(metrics).items()}
    for key in ("loss", "grad_norm"):
      if not np.isfinite(values[key]):
        kept = self._run.checkpointer.latest_step()
        raise TrainingDiverged(
            f"train/{key} is {values[key]} at step {step}; stopped. "
            + (f"The checkpoint of step {kept} is kept. " if kept is not None
               else "No checkpoint had been saved yet. ")
            + "Lower config.optim.learning_rate, set config.optim.clip_norm=1 "
            "or lengthen config.optim.warmup_steps")
    every = self._run.config.train.log_every
    if self._clock is None:  # The first step compiles: it does not count.
      self._clock = (step, self._training_seconds())
    if step % every == 0 or step in (1, self._run.total):
      line = {f"train/{k}": v for k, v in values.items()}
      line |= self._speed(step)
      self._writer.write(step, line)
      self._progress.show(step, line)

  def _training_seconds(self) -> float:
    """Returns a clock that stands still during evaluations and saves."""
    spent = self._run.timer.seconds
    return time.perf_counter() - spent.get("eval", 0) - spent.get("save", 0)

  def _speed(self, step: int) -> dict[str, float]:
    """Returns images/s, MFU and remaining time since the last log line."""
    since, at = self._clock
    now = self._training_seconds()
    if step <= since:
      return {}
    per_step = (now - at) / (step - since)
    self._clock = (step, now)
    rate = self._run.config.data.batch_size / per_step
    each = rate / self._run.program.mesh.size
    said = {
        "train/images_per_second": rate,
        "train/images_per_second_per_device": each,
        "train/eta_seconds": per_step * (self._run.total - step)}
    used = cost.mfu(each, self._flops, jax.devices()[0].device_kind)
    if used is not None:
      said["train/mfu"] = used
    return said | {
        f"time/{k}": v for k, v in self._run.timer.seconds.items()}

"""Each step's numbers: read one step late, checked, some of them written."""

import time

import jax
import numpy as np

from vit_jax.devices.distributed import is_primary
from vit_jax.errors import UserError
from vit_jax.models import cost
from vit_jax.training.heartbeat import Heartbeat
from vit_jax.training.metric_writer import MetricWriter
from vit_jax.training.progress import Progress
from vit_jax.training.setup import Run
from vit_jax.training.waits import Waits


class TrainingDiverged(UserError):
  """The loss or the gradient is not finite; the run has stopped."""


class StepLog:
  """Reads each step's metrics, checks them, and writes every log_every-th."""

  def __init__(
      self, run: Run, writer: MetricWriter, progress: Progress
  ) -> None:
    self.pending: tuple[int, dict[str, jax.Array]] | None = None
    self._run, self._writer, self._progress = run, writer, progress
    # Step and training time at which the speed was last measured.
    self._measured: tuple[int, float] | None = None
    self._waits = Waits(run.timer.seconds)
    self._heartbeat = Heartbeat(
        run.workdir, start_step=run.start, primary=is_primary())
    self._worked = 0.0  # Seconds in steps at the last measurement.
    self._flops = cost.train_flops(run.program.model, run.image_size)

  def flush(self) -> None:
    """Reads the pending metrics, and logs them where that is due.

    Raises:
      TrainingDiverged: the loss or the gradient is not finite.
    """
    if self.pending is None:
      return
    step, metrics = self.pending
    self.pending = None
    values = {k: float(v) for k, v in jax.device_get(metrics).items()}
    for key in ("loss", "grad_norm"):
      if not np.isfinite(values[key]):
        saved = self._run.checkpointer.latest_step()
        raise TrainingDiverged(
            f"train/{key} is {values[key]} at step {step}; stopped. "
            + (f"The checkpoint of step {saved} is kept. " if saved is not None
               else "No checkpoint had been saved yet. ")
            + "Lower config.optim.learning_rate, set config.optim.clip_norm=1 "
            "or lengthen config.optim.warmup_steps")
    if self._measured is None:  # The first step compiles: it does not count.
      self._measured = (step, self._training_seconds())
    log_every = self._run.train.log_every
    if step % log_every == 0 or step in (1, self._run.total):
      line = {f"train/{k}": v for k, v in values.items()}
      line |= self._speed(step, *self._measured)
      self._writer.write(step, line)
      self._progress.show(step, line)

  def _training_seconds(self) -> float:
    """Returns elapsed training time, excluding evaluation and saving."""
    spent = self._run.timer.seconds
    return time.perf_counter() - spent.get("eval", 0) - spent.get("save", 0)

  def _speed(
      self, step: int, last_step: int, last_seconds: float
  ) -> dict[str, float]:
    """Returns images/s, MFU, remaining time and where the time went.

    Args:
      step: updates completed.
      last_step, last_seconds: step and training time of the last measurement.
    """
    now = self._training_seconds()
    if step <= last_step:
      return {}
    per_step = (now - last_seconds) / (step - last_step)
    self._measured = (step, now)
    rate = self._run.data.batch_size / per_step
    each = rate / self._run.program.mesh.size
    speed = {
        "train/images_per_second": rate,
        "train/images_per_second_per_device": each,
        "train/eta_seconds": per_step * (self._run.total - step)}
    mfu = cost.mfu(each, self._flops, jax.devices()[0].device_kind)
    if mfu is not None:
      speed["train/mfu"] = mfu
    worked = self._run.timer.seconds.get("step", 0.0)
    beat = self._heartbeat.beat(step, worked - self._worked)
    self._worked = worked
    return speed | self._waits.measure() | beat | {
        f"time/{k}": v for k, v in self._run.timer.seconds.items()}

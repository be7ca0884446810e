"""A trace of some steps for xprof: config.train.profile_steps=(10, 15)."""

from collections.abc import Sequence
import os

from absl import logging
import jax

from vit_jax.errors import UsageError


class ProfileWindow:
  """Traces the updates after `start` up to `stop` into WORKDIR/profile.

  To look at it: `pip install xprof; xprof --logdir=WORKDIR/profile`.
  """

  def __init__(
      self, workdir: str, steps: Sequence[int], *, primary: bool
  ) -> None:
    """Checks the window; only the primary process traces.

    Args:
      workdir: of the run.
      steps: (start, stop), or () for no trace.
      primary: whether this is the primary process.

    Raises:
      UsageError: the steps are not (start, stop) with 0 <= start < stop.
    """
    if steps and (len(steps) != 2 or not 0 <= steps[0] < steps[1]):
      raise UsageError(
          f"config.train.profile_steps={tuple(steps)} is not a window; give "
          "two steps such as (10, 15), or () for none")
    self._window = tuple(steps) if primary else ()
    self._folder = os.path.join(workdir, "profile")
    self._tracing = False

  def at(self, step: int, pending: object = None) -> None:
    """Starts or stops the trace when `step` updates have been started.

    Args:
      step: of the loop.
      pending: arrays of the last update, waited for before the trace ends.
    """
    if self._window and step == self._window[0]:
      jax.profiler.start_trace(self._folder)
      self._tracing = True
    elif self._tracing and step >= self._window[1]:
      jax.block_until_ready(pending)
      self.close()

  def close(self) -> None:
    """Ends the trace if one is under way."""
    if self._tracing:
      jax.profiler.stop_trace()
      self._tracing = False
      logging.info("wrote the trace of steps %d to %d to %s", *self._window,
                   self._folder)

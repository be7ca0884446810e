"""Where a window of steps went: waiting for data, and the slowest process.

The number of a line in metrics.jsonl is process 0's. A process whose storage or
processor is slow shows there only as a long step: all wait for it.
"""

from collections.abc import Mapping

from absl import logging
import jax
from jax.experimental import multihost_utils
import numpy as np

# From this share of a window on, waiting for data is worth a warning.
_MUCH = 0.1
_PARTS = ("data", "step")


class Waits:
  """Measures windows between two logged steps; every process must take part."""

  def __init__(self, seconds: Mapping[str, float]) -> None:
    """Begins the first window.

    Args:
      seconds: sums by name, which grow as the run goes on (Timer.seconds).
    """
    self._seconds = seconds
    self._before = self._sums()
    self._warned = False

  def _sums(self) -> np.ndarray:
    return np.array([self._seconds.get(k, 0.0) for k in _PARTS], np.float64)

  def measure(self) -> dict[str, float]:
    """Ends a window, and warns where it mostly waited for data.

    Returns:
      time/data_share, of the window, for the process that waited longest; with
      several processes also time/data_slowest, time/step_slowest in seconds and
      the numbers of these processes, time/data_slowest_process and
      time/step_slowest_process.
    """
    now = self._sums()
    spent, self._before = now - self._before, now
    every = spent[None]
    if jax.process_count() > 1:
      every = np.asarray(multihost_utils.process_allgather(
          spent.astype(np.float32)))
    return self.of_processes(every)

  def of_processes(self, every: np.ndarray) -> dict[str, float]:
    """Returns the numbers of `measure` for the seconds of all processes.

    Args:
      every: seconds, (processes, parts).
    """
    worst = every.argmax(axis=0)
    host = int(worst[0])
    share = float(every[host, 0] / max(every[host].sum(), 1e-9))
    line = {"time/data_share": share}
    if len(every) > 1:
      for i, part in enumerate(_PARTS):
        line[f"time/{part}_slowest"] = float(every[worst[i], i])
        line[f"time/{part}_slowest_process"] = int(worst[i])
    if share > _MUCH and not self._warned:
      self._warned = True
      where = f"process {host} of {len(every)} " if len(every) > 1 else ""
      logging.warning(
          "%swaited for data for %.0f %% of the time since the last logged "
          "step; the chips stand still meanwhile. What helps: more "
          "config.data.num_threads or config.data.num_workers, images resized "
          "beforehand, data on a local disk (said once; time/data_share in "
          "metrics.jsonl goes on)", where, 100 * share)
    return line

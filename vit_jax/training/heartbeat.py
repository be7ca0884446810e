"""A sign of life in the working directory, and the share of time well spent.

heartbeat.json holds the step, the time, and when the job began, over all its
starts. launch/status.py and other monitors read it.
"""

import json
import os
import time

from absl import logging
from etils import epath

from vit_jax.metrics import read_record
from vit_jax.paths import absolute

FILE = "heartbeat.json"
# Seconds between two writes: a bucket takes about one a second of an object.
_EVERY = 10.0


class Heartbeat:
  """Writes the file, and computes the goodput."""

  def __init__(self, workdir: str, *, start_step: int, primary: bool) -> None:
    """Takes up the counts where an earlier start has left them.

    Args:
      workdir: of the run.
      start_step: updates completed; work beyond it was lost.
      primary: only this process writes.
    """
    self._path = epath.Path(absolute(workdir)) / FILE
    self._primary = primary
    self._written = float("-inf")
    self._began = time.time()
    self._productive = 0.0
    if not primary:
      return
    try:
      self._began = float(json.loads(self._path.read_text())["began"])
    except FileNotFoundError:
      pass
    except (ValueError, KeyError, TypeError):
      logging.warning("%s cannot be read; the job's age counts from now",
                      self._path)
    for line in read_record(workdir):
      if line["step"] <= start_step:
        self._productive = float(
            line.get("time/productive", self._productive))

  def beat(self, step: int, seconds: float) -> dict[str, float]:
    """Counts the work of a window of steps, and writes the file now and then.

    Args:
      step: updates completed.
      seconds: that the devices worked since the last call.

    Returns:
      time/productive, in seconds over all starts, without what was lost; and
      time/goodput, its share of the time since the job began.
    """
    self._productive += seconds
    if not self._primary:
      return {}
    now = time.time()
    line = {"time/productive": self._productive,
            "time/goodput": self._productive / max(now - self._began, 1e-9)}
    if time.monotonic() - self._written >= _EVERY:
      self._written = time.monotonic()
      self._write(json.dumps({
          "step": step, "time": now, "began": self._began,
          "goodput": line["time/goodput"]}) + "\n")
    return line

  def _write(self, text: str) -> None:
    if "://" in str(self._path):
      self._path.write_text(text)
      return
    temporary = self._path.parent / (FILE + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, self._path)

"""Ends a process that hangs, with the stack of every thread.

A loader that waits for its storage, or a process that waits for another one in
a collective operation, does not fail: it waits without end, and the slice is
paid for. A restart from the last checkpoint is the cure.
"""

from collections import deque
import faulthandler
import os
import statistics
import sys
import threading
import time
from types import TracebackType

# A part of the loop may take this many times as long as a wait for data:
# compiling, a whole evaluation, writing a checkpoint. A step a little longer:
# it may wait for a process that waits for data, which is to speak first.
_PATIENCE = {"step": 1.25, "compile": 12, "eval": 6, "save": 6, "restore": 6}
_MEDIANS = 50  # and so many times its own median
_REMEMBERED = 101
_EXIT_CODE = 1  # It may succeed if it is repeated.
# The process's own, as a notebook's stream is no file, which the stacks need.
_STREAM = sys.__stderr__


class Watchdog:
  """Watches the parts of a loop, one at a time, from a thread of its own."""

  def __init__(self, minutes: float) -> None:
    """Starts nothing; use it as a context.

    Args:
      minutes: that waiting for data may take at least; 0 watches nothing.
    """
    self._floor = 60 * minutes
    self._poll = min(5.0, self._floor / 60)  # Seconds between two looks.
    self._now: tuple[str, float] | None = None
    self._took: dict[str, deque[float]] = {}
    self._end = threading.Event()
    self._thread = threading.Thread(
        target=self._watch, name="watchdog", daemon=True)

  def __enter__(self) -> "Watchdog":
    if self._floor > 0 and _STREAM is not None:
      self._thread.start()
    return self

  def __exit__(
      self, kind: type[BaseException] | None, error: BaseException | None,
      trace: TracebackType | None) -> None:
    self._end.set()
    if self._thread.is_alive():
      self._thread.join()
      faulthandler.cancel_dump_traceback_later()

  def begin(self, name: str) -> None:
    """Notes that a part begins."""
    self._now = (name, time.monotonic())

  def done(self, seconds: float) -> None:
    """Notes that the part has ended after so many seconds."""
    if self._now is not None:
      name, self._now = self._now[0], None
      self._took.setdefault(name, deque(maxlen=_REMEMBERED)).append(seconds)

  def limit(self, name: str) -> float:
    """Returns the seconds that a part may take."""
    took = list(self._took.get(name, ()))
    median = statistics.median(took) if took else 0.0
    return max(self._floor * _PATIENCE.get(name, 1), _MEDIANS * median)

  def _watch(self) -> None:
    assert _STREAM is not None
    while not self._end.wait(self._poll):
      # Where Python itself stands still, its C code ends the process.
      faulthandler.dump_traceback_later(
          self._floor + self._poll + 60, exit=True, file=_STREAM)
      now = self._now
      if now is None or time.monotonic() - now[1] <= self._floor:
        continue
      name, limit = now[0], self.limit(now[0])
      if time.monotonic() - now[1] > limit and now == self._now:
        self._bark(name, limit)

  def _bark(self, name: str, limit: float) -> None:
    assert _STREAM is not None
    faulthandler.dump_traceback(file=_STREAM, all_threads=True)
    print(
        f"vit_jax: error: {name!r} has taken longer than {limit:.0f} s, so "
        "this process hangs; its threads stand above. It ends, to be started "
        "again from the last checkpoint (docs/watching.md; "
        "config.train.hang_minutes=0 waits without end)",
        file=_STREAM, flush=True)
    os._exit(_EXIT_CODE)

"""Threads in which Orbax writes after a save has returned."""

import sys
import threading
import time

# Orbax's function in which a thread waits for what another is to do before it.
_WAITS = "wait_for_signals"


class Writers:
  """Those that begin after this is made."""

  def __init__(self) -> None:
    self._earlier = set(threading.enumerate())

  def join(self, seconds: float) -> None:
    """Waits for threads that still write, at most so long in all.

    When one of them fails, Orbax waits for no other: they would write into a
    directory that the caller believes to be at rest. Those that were to follow
    the one that has failed wait for it for up to 20 minutes, and never write:
    they are left behind.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
      left = [thread for thread in threading.enumerate()
              if thread not in self._earlier
              and type(thread).__module__.startswith("orbax.")]
      if all(_waits(thread) for thread in left):
        return
      # Not its own join(), which raises the thread's error once more.
      threading.Thread.join(left[0], 0.05)


def _waits(thread: threading.Thread) -> bool:
  """Tells whether a thread waits to begin."""
  frame = sys._current_frames().get(thread.ident or 0)
  while frame:
    if frame.f_code.co_name.endswith(_WAITS):
      return True
    frame = frame.f_back
  return False

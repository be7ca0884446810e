"""Threads in which Orbax writes after a save has returned."""

import threading


class Writers:
  """Those that begin after this is made."""

  def __init__(self) -> None:
    self._earlier = set(threading.enumerate())

  def join(self, seconds: float) -> None:
    """Waits for threads that still write, for each at most so long.

    When one of them fails, Orbax waits for no other: they would write into a
    directory that the caller believes to be at rest.
    """
    for thread in set(threading.enumerate()) - self._earlier:
      if type(thread).__module__.startswith("orbax."):
        # Not its own join(), which raises the thread's error once more.
        threading.Thread.join(thread, seconds)

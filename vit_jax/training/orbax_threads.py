"""Threads in which Orbax writes after a save has returned."""

from collections.abc import Callable, Sequence
import sys
import threading
import time
from typing import Any

import jax

# Orbax's function in which a thread waits for what another is to do before it.
_WAITS = "wait_for_signals"
# Seconds after which nobody will do it. A thread that was told goes on at once.
_STALLED = 5.0
# Orbax's names of the threads that wait for the other processes.
_OF_SAVES = ("async_save", "save_finalize")


class Writers:
  """Those that begin after this is made."""

  def __init__(self) -> None:
    self._earlier = set(threading.enumerate())

  def join(self, seconds: float) -> None:
    """Waits for threads that still write, at most so long in all.

    When one of them fails, Orbax waits for no other: they would write into a
    directory that the caller believes to be at rest. Those that were to follow
    the one that has failed wait for it for up to 20 minutes, and Python waits
    for them at its end: they are told to end.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until and self._any_works():
      time.sleep(0.02)
    # With several processes the signal would reach threads of the others.
    if jax.process_count() == 1:
      for thread in self._threads():
        _release(thread)

  def stall(self, in_progress: Callable[[], bool]) -> bool:
    """Waits for a save; tells whether it will never end.

    Orbax's own wait_until_finished may wait for a thread that waits for one
    that has failed, for up to 20 minutes.

    Args:
      in_progress: whether the save has not ended.
    """
    worked = time.monotonic()
    while in_progress():
      if self._any_works():
        worked = time.monotonic()
      elif time.monotonic() - worked > _STALLED:
        return True
      time.sleep(0.02)
    return False

  def _any_works(self) -> bool:
    """Tells whether a thread does anything but wait for another one."""
    return not all(map(_waits, self._threads()))

  def _threads(self) -> list[threading.Thread]:
    """Returns Orbax's threads that have begun since."""
    return [thread for thread in threading.enumerate()
            if thread not in self._earlier
            and type(thread).__module__.startswith("orbax.")]


def tell_of_failures(
    manager: Any, tell: Callable[[BaseException], None]  # noqa: ANN401
) -> None:
  """Has a function called, in another thread, when a save in it has failed.

  Among several processes the manager itself tells only after the others have
  waited for this one in vain, for as long as its timeout is.
  """
  try:
    saves = manager._checkpointer._async_manager
    run = saves._thread_func
  except AttributeError:  # Another Orbax: its timeout tells.
    return

  def watched(*args: Any, **kwargs: Any) -> None:
    run(*args, **kwargs)
    if saves._exception is not None:
      tell(saves._exception)

  saves._thread_func = watched


def ends_within(seconds: float, in_progress: Callable[[], bool]) -> bool:
  """Tells whether a save has ended, after waiting at most so long."""
  until = time.monotonic() + seconds
  while in_progress():
    if time.monotonic() > until:
      return False
    time.sleep(0.005)
  return True


def stall_of_job(
    in_progress: Callable[[], bool], failures: Sequence[BaseException],
    agree: Callable[[bool], bool],
) -> bool:
  """Waits for a save of several processes; tells whether it will never end.

  Args:
    in_progress: whether the save has not ended.
    failures: of this process, as `tell_of_failures` adds them.
    agree: whether something holds in any process.
  """
  while agree(in_progress()) and not agree(bool(failures)):
    time.sleep(0.1)
  return agree(bool(failures))


def are_left() -> bool:
  """Tells whether a save's threads still wait, and Python would for them."""
  return any(thread.name in _OF_SAVES and not thread.daemon
             for thread in threading.enumerate())


def _release(thread: Any) -> None:  # noqa: ANN401
  """Lets a thread that waits in vain end without its work."""
  try:
    from orbax.checkpoint._src.futures import future, signaling_client

    thread.cancel()
    client = signaling_client.get_signaling_client()
    for signal in thread._receive_signals:
      client.key_value_set(
          future.AwaitableSignalsContract.get_unique_awaitable_singal_key(
              signal, thread._operation_id), "", allow_overwrite=True)
  except (AttributeError, ImportError):  # Another Orbax: it stays.
    pass


def _waits(thread: threading.Thread) -> bool:
  """Tells whether a thread waits for another one, to begin or to end."""
  frame = sys._current_frames().get(thread.ident or 0)
  while frame:
    if frame.f_code.co_name.endswith(_WAITS) or (
        frame.f_code is threading.Thread.join.__code__):
      return True
    frame = frame.f_back
  return False

"""A run that has ended, however it ended, leaves no thread behind."""

import threading

import pytest


@pytest.fixture(scope="module", autouse=True)
def threads_before():
  """The threads that a module of tests begins with."""
  return set(threading.enumerate())


@pytest.fixture(autouse=True)
def no_thread_is_left(threads_before):
  """Checks after each test that every thread of it has ended.

  What a thread logs after its run is mistaken for another run's, and it may
  meet a directory that has been removed.
  """
  yield
  left = [t for t in threading.enumerate() if t not in threads_before]
  # Pools of Grain and asyncio are shut down without waiting: their threads
  # have no work left and end by themselves.
  for thread in left:
    if thread.name.startswith(("grain-prefetch", "asyncio_")):
      thread.join(timeout=30)
  assert not [t.name for t in left if t.is_alive()]

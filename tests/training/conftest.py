"""A run that has ended, however it ended, leaves no thread behind."""

import contextlib
import threading

import pytest

from vit_jax.training import loop


class StopAt:
  """A SIGTERM that comes by itself after some step."""

  interrupted = False

  def __init__(self, step):
    self.step = step

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass

  def requested(self, step):
    return step >= self.step

  def here(self):
    return False


@pytest.fixture
def stopped_at(monkeypatch):
  """A context in which training is told to stop after a step."""

  @contextlib.contextmanager
  def stopped_at(step):
    with monkeypatch.context() as patch:
      patch.setattr(loop, "StopSignal", lambda: StopAt(step))
      yield

  return stopped_at


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

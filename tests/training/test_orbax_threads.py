"""Closing waits for Orbax's threads that write, not for those that never will.
"""

import threading
import time

from orbax.checkpoint._src.futures import (
  future,
  signaling_client,
  synchronization,
)
import pytest

from vit_jax.training import orbax_threads
from vit_jax.training.orbax_threads import Writers

SIGNAL = synchronization.HandlerAwaitableSignal.STEP_DIRECTORY_CREATION


def thread(target, waits_for, operation="x"):
  made = future._SignalingThread(
      target=target, send_signals=[], receive_signals=waits_for,
      timeout_secs=60, operation_id=operation)
  made.start()
  return made


@pytest.fixture
def signal():
  """Gives the signal that a thread waits for."""
  key = future.AwaitableSignalsContract.get_unique_awaitable_singal_key(
      SIGNAL, "x")
  client = signaling_client.get_signaling_client()
  yield lambda: client.key_value_set(key, "", allow_overwrite=True)
  client.key_value_delete(key)


def test_one_that_writes_is_waited_for():
  writers = Writers()
  written = []
  thread(lambda: (time.sleep(0.5), written.append(1)), [])
  writers.join(30)
  assert written


def test_one_that_waits_for_a_failed_one_is_not():
  writers, worked = Writers(), []
  waiting = thread(lambda: worked.append(1), [SIGNAL], "y")
  begin = time.monotonic()
  writers.join(30)
  assert time.monotonic() - begin < 5
  # It ends, without its work, and Python does not wait for it at the end.
  threading.Thread.join(waiting, 10)
  assert not waiting.is_alive() and not worked


def test_one_that_hangs_is_waited_for_no_longer_than_told():
  writers = Writers()
  release = threading.Event()
  for _ in range(3):
    thread(release.wait, [])
  begin = time.monotonic()
  writers.join(1.0)
  assert 1.0 <= time.monotonic() - begin < 3
  release.set()
  writers.join(30)


def test_a_save_whose_threads_wait_for_a_failed_one_is_over(
    monkeypatch, signal):
  monkeypatch.setattr(orbax_threads, "_STALLED", 0.5)
  writers = Writers()
  waiting = thread(lambda: None, [SIGNAL])
  # Orbax's own thread that finishes a save waits for that one.
  last = thread(lambda: threading.Thread.join(waiting), [])
  begin = time.monotonic()
  assert writers.stall(last.is_alive)
  assert 0.5 <= time.monotonic() - begin < 5
  signal()
  assert not writers.stall(last.is_alive)


def test_a_slow_save_is_waited_for(monkeypatch):
  monkeypatch.setattr(orbax_threads, "_STALLED", 0.1)
  writers = Writers()
  slow = thread(lambda: time.sleep(1), [])
  assert not writers.stall(slow.is_alive)

"""Prefetch: order, depth, errors, and threads that end."""

import gc
import itertools
import threading
import time
import weakref

import pytest

from vit_jax.data.prefetch import prefetch
from vit_jax.errors import DataError


@pytest.fixture(autouse=True)
def no_thread_survives():
  before = set(threading.enumerate())
  yield
  gc.collect()
  assert not set(threading.enumerate()) - before


def wait_until(condition):
  deadline = time.monotonic() + 10
  while not condition() and time.monotonic() < deadline:
    time.sleep(0.005)
  assert condition()


def test_keeps_the_order_and_ends():
  results = prefetch(iter(range(50)), lambda x: x * x)
  assert list(results) == [x * x for x in range(50)]
  with pytest.raises(StopIteration):
    next(results)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_keeps_size_results_ahead_and_no_more(size):
  made = []
  with prefetch(itertools.count(), lambda x: made.append(x) or x, size) as it:
    wait_until(lambda: len(made) == size)
    time.sleep(0.05)
    assert len(made) == size
    assert [next(it), next(it)] == [0, 1]
    wait_until(lambda: len(made) == size + 2)
    time.sleep(0.05)
    assert len(made) == size + 2


def test_works_while_the_caller_does_not_ask():
  started = threading.Event()
  with prefetch(iter([1]), lambda x: started.set()):
    assert started.wait(10)


def test_errors_come_at_their_place():
  def batches():
    yield 1
    yield 2
    raise DataError("third")

  results = prefetch(batches(), lambda x: x)
  assert [next(results), next(results)] == [1, 2]
  with pytest.raises(DataError, match="third"):
    next(results)
  with pytest.raises(StopIteration):
    next(results)


def test_errors_of_put():
  def put(x):
    if x == 1:
      raise ValueError("no memory")
    return x

  results = prefetch(itertools.count(), put)
  assert next(results) == 0
  with pytest.raises(ValueError, match="no memory"):
    next(results)


def test_close_closes_the_iterator_and_drops_results():
  class Result:
    pass

  alive, closed = [], []

  def batches():
    try:
      yield from itertools.count()
    finally:
      closed.append(threading.current_thread())

  def put(_):
    result = Result()
    alive.append(weakref.ref(result))
    return result

  results = prefetch(batches(), put)
  next(results)
  results.close()
  results.close()
  assert closed == [threading.main_thread()]
  gc.collect()
  assert not any(ref() for ref in alive)
  with pytest.raises(StopIteration):
    next(results)


def test_a_prefetch_that_nobody_holds_ends():
  closed = threading.Event()

  def batches():
    try:
      yield from itertools.count()
    finally:
      closed.set()

  next(prefetch(batches(), lambda x: x))
  gc.collect()
  assert closed.wait(10)

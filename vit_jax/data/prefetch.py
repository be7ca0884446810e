"""Keeps batches on the device ahead of the training loop."""

from collections.abc import Callable, Iterator
import queue
import threading
from typing import Any, Generic, TypeVar
import weakref

T = TypeVar("T")


class prefetch(Generic[T]):
  """Iterates over put(batch), up to `size` of them made ahead in a thread.

  put copies a host batch to the devices; it may return before the copy is
  done. The loop then waits for neither decoding nor copying. Exceptions of the
  iterator or of put are raised by next(). Close it when leaving early (it is a
  context manager too): the thread ends, and the iterator is closed.
  """

  def __init__(
      self, iterator: Iterator[Any], put: Callable[[Any], T],
      size: int = 2) -> None:
    """Starts the thread.

    Args:
      iterator: host batches; from then on used by the thread only.
      put: turns a host batch into what next() returns.
      size: how many results are kept ahead, at least 1.
    """
    self._results: queue.SimpleQueue = queue.SimpleQueue()
    self._room = threading.Semaphore(size)
    self._done = False
    # The thread must not hold self, so that an abandoned prefetch is garbage
    # collected, and its finalizer ends the thread.
    stop = threading.Event()
    thread = threading.Thread(
        target=_work, name="prefetch", daemon=True,
        args=(iterator, put, self._results, self._room, stop))
    self._finalizer = weakref.finalize(
        self, _finish, thread, stop, self._room, iterator)
    thread.start()

  def __iter__(self) -> Iterator[T]:
    return self

  def __next__(self) -> T:
    if self._done:
      raise StopIteration
    result, error = self._results.get()
    if error is not None:
      self.close()
      raise error
    self._room.release()
    return result

  def close(self) -> None:
    """Ends the thread, drops its results and closes the iterator."""
    self._done = True
    self._finalizer()
    while not self._results.empty():
      self._results.get()

  def __enter__(self) -> "prefetch[T]":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


def _work(
    iterator: Iterator[Any], put: Callable[[Any], T],
    results: queue.SimpleQueue, room: threading.Semaphore,
    stop: threading.Event) -> None:
  """Runs in the thread: queues (result, None), finally (None, exception)."""
  try:
    for batch in iterator:
      room.acquire()
      if stop.is_set():
        return
      results.put((put(batch), None))
    results.put((None, StopIteration()))
  except BaseException as error:  # Raised again where next() is called.
    results.put((None, error))


def _finish(
    thread: threading.Thread, stop: threading.Event,
    room: threading.Semaphore, iterator: Iterator[Any]) -> None:
  """Ends the thread, then closes the iterator that it used."""
  stop.set()
  room.release()
  if thread is threading.current_thread():
    return  # Garbage collected in the thread itself, which now ends.
  thread.join()
  if hasattr(iterator, "close"):
    iterator.close()

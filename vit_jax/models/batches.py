"""Applies a function to many images in batches of one size, reading ahead."""

from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
import contextlib
from typing import Any, TypeVar

import jax
from jaxtyping import Float
import numpy as np

from vit_jax.data.progress_bar import progress_bar
from vit_jax.errors import DataError

T = TypeVar("T")
Image = Float[np.ndarray, "h w 3"]


def in_batches(
    function: Callable[[Float[np.ndarray, "b h w 3"]], jax.Array],
    items: Sequence[T],
    read: Callable[[T], Image],
    *,
    batch_size: int,
    progress: bool | None = None,
) -> Iterator[tuple[T, np.ndarray | DataError]]:
  """Yields each item with its row of the function's result, in order.

  Every batch has the same size, so that a jitted function is compiled once:
  the last one is filled up with zeros. Of fewer items than batch_size the
  batch is the next power of two. While the device computes a batch, threads
  read the next.

  Args:
    function: images to an array whose first axis is theirs.
    items: what `read` takes.
    read: called by several threads. A DataError takes the place of the row.
    batch_size: images at a time.
    progress: whether to show a bar; None: if there are several batches, on a
      terminal and in a notebook.
  """
  if not items:
    return
  size = min(batch_size, 1 << (len(items) - 1).bit_length())
  chunks = [items[i:i + size] for i in range(0, len(items), size)]
  if len(chunks) == 1:
    progress = bool(progress)

  def attempt(item: T) -> Image | DataError:
    try:
      return read(item)
    except DataError as error:
      return error

  with (futures.ThreadPoolExecutor() as pool, contextlib.closing(progress_bar(
      total=len(items), unit="image", show=progress)) as bar):

    def start(i: int) -> list[futures.Future[Image | DataError]]:
      return [pool.submit(attempt, item) for item in chunks[i]] if (
          i < len(chunks)) else []

    before: list[tuple[T, Any]] = []
    rows: jax.Array | None = None
    reading = start(0)
    for i, chunk in enumerate(chunks):
      images = [future.result() for future in reading]
      reading = start(i + 1)
      # Dispatched before the previous batch is waited for.
      new_rows = _apply(function, images, size)
      yield from _finished(before, rows)
      bar.update(len(before))
      before, rows = list(zip(chunk, images, strict=True)), new_rows
    yield from _finished(before, rows)
    bar.update(len(before))


def _apply(
    function: Callable[[np.ndarray], jax.Array],
    images: Sequence[Image | DataError], size: int,
) -> jax.Array | None:
  """Returns the result for the images that could be read, None without any."""
  readable = {i: image for i, image in enumerate(images)
              if not isinstance(image, DataError)}
  if not readable:
    return None
  first = next(iter(readable.values()))
  batch = np.zeros((size, *first.shape), np.float32)
  for i, image in readable.items():
    batch[i] = image
  return function(batch)


def _finished(
    items: Sequence[tuple[T, Any]], rows: jax.Array | None
) -> Iterator[tuple[T, np.ndarray | DataError]]:
  """Yields the items of a batch with their rows."""
  values = None if rows is None else np.asarray(rows)
  for i, (item, image) in enumerate(items):
    if isinstance(image, DataError) or values is None:
      yield item, image
    else:
      yield item, values[i]

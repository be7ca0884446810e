"""The forward pass of an evaluation, with a clock."""

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  import jax


class TimedPredict:
  """Counts batches on their way to the model, and measures their time."""

  def __init__(self, predict: Any) -> None:
    """Wraps a jitted (params, images) -> logits."""
    self._predict = predict
    self._total = self._count = self._first = 0
    self._start = self._compiled = 0.0

  def start(self, total: int) -> None:
    """Starts the clock; `total` images are expected."""
    self._total = total
    self._start = self._compiled = time.perf_counter()

  def __call__(self, params: Any, images: "jax.Array") -> "jax.Array":
    """Returns the logits."""
    logits = self._predict(params, images)
    if not self._count:  # The first batch compiles: it does not count.
      logits.block_until_ready()
      self._compiled, self._first = time.perf_counter(), images.shape[0]
    self._count = min(self._count + images.shape[0], self._total)
    return logits

  def stop(self) -> tuple[float, float | None]:
    """Returns seconds in all, and images per second after the first batch."""
    now = time.perf_counter()
    seconds = now - self._start
    if not self._count:
      return seconds, None
    if self._count > self._first:
      return seconds, (self._count - self._first) / (now - self._compiled)
    return seconds, self._count / seconds

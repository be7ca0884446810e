"""When a checkpoint is due by the clock; the same answer on every process."""

import time

import numpy as np

from vit_jax.devices.distributed import from_primary

# Part of the interval after which the clock is looked at again. With several
# processes each look is a message that waits for the devices.
_SHARE = 0.05


class SaveClock:
  """Tells whether so many minutes have passed since the last save."""

  def __init__(self, minutes: float) -> None:
    """Starts to count; 0 minutes: never due."""
    self._seconds = 60.0 * minutes
    self._since = time.monotonic()
    self._step: int | None = None  # of the last look or save
    self._looked = self._since
    self._next = 0

  def restart(self, step: int) -> None:
    """Counts from now: the state of `step` is being saved."""
    self._since = self._looked = time.monotonic()
    self._step, self._next = step, step + 1

  def is_due(self, step: int) -> bool:
    """Tells whether it is time to save; asked at every step."""
    if not self._seconds or step < self._next:
      return False
    now = time.monotonic()
    done = 1 if self._step is None else max(1, step - self._step)
    pace = max(1e-6, (now - self._looked) / done)
    # Process 0's clock counts. How many steps until the next look, 0 for now.
    steps = 0 if now - self._since >= self._seconds else max(
        1, int(min(_SHARE * self._seconds / pace, 1e6)))
    steps = int(from_primary(np.int32(steps)))
    self._step, self._looked, self._next = step, now, step + steps
    return steps == 0

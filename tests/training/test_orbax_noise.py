"""What is kept from standard error after one array of many has failed."""

import asyncio
import gc
import logging

import pytest

from vit_jax.training import orbax_noise


class Kept(logging.Handler):

  def __init__(self):
    super().__init__()
    self.lines = []

  def emit(self, record):
    self.lines.append(record.getMessage())


def lost(error, task):
  """Lets asyncio find an error that nobody has asked for."""
  async def main():
    if task:
      async def async_deserialize():
        raise error
      left = asyncio.ensure_future(async_deserialize())
      await asyncio.sleep(0)
    else:
      left = asyncio.get_running_loop().create_future()
      left.set_exception(error)
    del left
    gc.collect()

  kept = Kept()
  logger = logging.getLogger("asyncio")
  logger.addHandler(kept)
  try:
    asyncio.run(main())
  finally:
    logger.removeHandler(kept)
  return kept.lines


@pytest.mark.parametrize("task", [True, False])
def test_arrays_that_failed_beside_the_first_say_nothing(task):
  orbax_noise.drop_late_tracebacks()
  error = ValueError('DATA_LOSS: Error opening "cast" driver: ...')
  assert lost(error, task) == []


def test_other_failures_are_told():
  orbax_noise.drop_late_tracebacks()
  [line] = lost(ValueError("a failure of ours"), task=False)
  assert "a failure of ours" in line

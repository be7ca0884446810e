"""What Orbax and tensorstore print beside the error that they raise.

Orbax reads or writes all arrays of a checkpoint at once and gives up at the
first that fails. The others then report to an event loop that is closed: a
traceback on standard error for each, from no thread of ours and for nobody to
catch.
"""

from collections.abc import Iterator
import contextlib
import functools
import logging
import os
import re
import sys
from typing import Any

# How asyncio begins when a failure reached nobody.
_LOST = re.compile("(Task|Future) exception was never retrieved")
# How tensorstore's errors begin: DATA_LOSS, NOT_FOUND, INVALID_ARGUMENT, ...
_STATUS = re.compile(r"""exception=\w+\(['"][A-Z_]{5,}: """)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
  """Drops Orbax's warnings meanwhile, and late tracebacks from now on."""
  drop_late_tracebacks()
  logger = logging.getLogger("absl")
  logger.addFilter(_not_orbax)
  try:
    yield
  finally:
    logger.removeFilter(_not_orbax)


@functools.cache
def drop_late_tracebacks() -> None:
  """Drops, from now on, what arrays report when one has failed already."""
  before = sys.unraisablehook

  def hook(unraisable: Any) -> None:
    error = unraisable.exc_value
    if not (isinstance(error, RuntimeError)
            and str(error) == "Event loop is closed"):
      before(unraisable)

  sys.unraisablehook = hook
  logging.getLogger("asyncio").addFilter(_not_a_lost_read)


def _not_orbax(record: logging.LogRecord) -> bool:
  """Tells whether a log record is to be shown."""
  return record.levelno >= logging.ERROR or (
      f"{os.sep}orbax{os.sep}" not in record.pathname)


def _not_a_lost_read(record: logging.LogRecord) -> bool:
  """Tells whether asyncio's log record is about something else."""
  message = record.getMessage()
  return not (_LOST.match(message) and (
      "async_deserialize" in message or _STATUS.search(message)))

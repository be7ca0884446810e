"""Words that the messages of all sources share."""

from collections.abc import Sequence
import functools

from absl import logging


def shorten(names: Sequence[str], most: int = 8) -> str:
  """Returns the names, or the first few and how many there are."""
  text = ", ".join(names[:most])
  return text if len(names) <= most else f"{text}, ... ({len(names)} in all)"


def counted(count: int, noun: str) -> str:
  """Returns "1 image", "2 images" or "2,000 images"."""
  return f"{count:,} {noun}{'s' * (count != 1)}"


@functools.lru_cache(maxsize=10_000)
def warn_once(message: str) -> None:
  """Logs a warning; training opens a data set more than once."""
  logging.warning("%s", message)

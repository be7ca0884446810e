"""What goes to standard error: warnings, log lines, signs of life."""

from collections.abc import Iterator
import contextlib
import copy
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from vit_jax.errors import visible

if TYPE_CHECKING:
  import tqdm

_PACKAGE = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


class _Handler(logging.Handler):
  """Writes to what is standard error at the time.

  Attributes:
    own_level: from which the package's records are written.
    other_level: from which those of other packages are.
  """

  def __init__(
      self, own_level: int, other_level: int, formatter: logging.Formatter
  ) -> None:
    super().__init__()
    self.own_level, self.other_level = own_level, other_level
    self._faults: set[str] = set()
    self.setFormatter(formatter)

  def emit(self, record: logging.LogRecord) -> None:
    """Prints a record that is important enough."""
    own = os.path.abspath(record.pathname).startswith(_PACKAGE)
    if record.levelno < (self.own_level if own else self.other_level):
      return
    line = self.format(record)
    if record.exc_info and not own:
      # Of a failed save, each thread logs the same exception once or twice.
      fault = _exception(record.exc_info)
      if fault in self._faults:
        return
      self._faults.add(fault)
      line = _cut(line)
    with above_bars():
      print(line, file=sys.stderr, flush=True)


class _OneLine(logging.Formatter):
  """Formats a record as "vit_jax: warning: ..."."""

  def format(self, record: logging.LogRecord) -> str:
    """Returns the line, without the record's traceback."""
    return visible(
        f"vit_jax: {record.levelname.lower()}: {record.getMessage()}")


class _WithTime(logging.Formatter):
  """Formats a record with the time of day; an exception is one line.

  The threads of other packages log the traceback of what is then raised where
  it is waited for, and shown there.
  """

  def format(self, record: logging.LogRecord) -> str:
    """Returns the lines, without what another handler made of the exception."""
    record = copy.copy(record)
    record.exc_text = None
    return super().format(record)

  def formatException(self, ei: Any) -> str:  # noqa: N802
    """Returns the exception without its traceback."""
    return f"  {_cut(_exception(ei))}"


def _exception(info: Any) -> str:  # noqa: ANN401
  """Returns an exception as one line."""
  return f"{type(info[1]).__name__}: {' '.join(str(info[1]).split())}"


def _cut(text: str, length: int = 300) -> str:
  """Returns text with each line cut to a length."""
  return "\n".join(
      line if len(line) <= length else line[:length - 3] + "..."
      for line in text.split("\n"))


def show_warnings() -> None:
  """Shows the package's warnings, and other packages' errors, as one line."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  _handle(_Handler(logging.WARNING, logging.ERROR, _OneLine()))


def show_progress() -> None:
  """Shows the package's log lines, and all warnings, with the time of day."""
  _handle(_Handler(logging.INFO, logging.WARNING, _WithTime(
      "%(asctime)s %(message)s", datefmt="%H:%M:%S")))


def _handle(handler: _Handler) -> None:
  """Makes `handler` the only one that writes to standard error."""
  from absl import flags
  from absl import logging as absl_logging

  # Until its flags are parsed, absl warns that they are not.
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
  root = logging.getLogger()
  for other in root.handlers[:]:
    if isinstance(other, _Handler | absl_logging.ABSLHandler):
      root.removeHandler(other)
  root.addHandler(handler)
  absl_logging.set_verbosity(logging.getLevelName(handler.own_level).lower())


def note(message: str) -> None:
  """Prints a line about the work on standard error."""
  with above_bars():
    print(f"vit_jax: {message}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def above_bars() -> Iterator[None]:
  """Clears the bars of a terminal while lines are printed, and redraws them."""
  module = sys.modules.get("tqdm")
  if module is None:  # Then there is no bar.
    yield
    return
  with module.tqdm.external_write_mode(sys.stderr):
    yield


def bar(total: int, what: str, unit: str = "image") -> "tqdm.tqdm":
  """Returns a bar, shown on a terminal and gone at the end; to be closed."""
  from vit_jax.data.progress_bar import Bar

  return Bar(
      total=total, desc=what, unit=unit, dynamic_ncols=True, leave=False,
      file=sys.stderr, disable=None)


def starting(message: str) -> None:
  """Prints a first sign of life on a terminal, before the slow imports."""
  if sys.stderr.isatty():
    note(message)


@contextlib.contextmanager
def each_warning_once() -> Iterator[None]:
  """Lets a warning pass once where a program is traced over and over."""
  seen: set[str] = set()

  def new(record: logging.LogRecord) -> bool:
    before = len(seen)
    seen.add(record.getMessage())
    return len(seen) > before

  logger = logging.getLogger("absl")
  logger.addFilter(new)
  try:
    yield
  finally:
    logger.removeFilter(new)

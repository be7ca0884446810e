"""What the verbs share: tables for people, JSON for programs, log lines."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
import contextlib
import json
import logging
import math
import os
import re
import sys
from typing import Any, NoReturn

from vit_jax.errors import UsageError, suggest

WIDTH = 100
_PACKAGE = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


class Parser(argparse.ArgumentParser):
  """Says what is wrong in one line, and finds misspelt options."""

  def error(self, message: str) -> NoReturn:
    """Raises UsageError instead of printing the whole usage."""
    raise UsageError(f"{message}; see {self.prog} --help")

  def parse(self, argv: Sequence[str]) -> argparse.Namespace:
    """Parses everything; an unknown option is answered with the nearest."""
    args, unknown = self.parse_known_args(argv)
    if unknown:
      known = re.findall(r"--\w+", self.format_help())
      hint = suggest(unknown[0].partition("=")[0], known)
      self.error(f"unknown argument {unknown[0]!r}{hint}")
    return args


def divide(argv: Sequence[str]) -> tuple[list[str], list[str]]:
  """Returns a verb's own words, and those about the config with their values.

  Raises:
    UsageError: the last word wants a value.
  """
  names = ("--config", "-config")
  ours, theirs, value_follows = [], [], False
  for word in argv:
    about = word in names or word.startswith(
        tuple(f"{name}{sign}" for name in names for sign in "=."))
    (theirs if about or value_follows else ours).append(word)
    value_follows = about and "=" not in word
  if value_follows:
    raise UsageError(f"{argv[-1]} wants a value, as in {argv[-1]}=VALUE")
  return ours, theirs


def program() -> str:
  """Returns how this command was called, for help texts."""
  called = os.path.basename(sys.argv[0])
  return "vit_jax" if called == "vit_jax" else "python -m vit_jax"


def add_json(parser: argparse.ArgumentParser) -> None:
  """Adds --json."""
  parser.add_argument(
      "--json", action="store_true",
      help="print one JSON object on standard output instead of a table")


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
  """Adds --checkpoint, which `opening.locate` understands."""
  parser.add_argument(
      "--checkpoint", required=True, metavar="FILE",
      help=".npz or .safetensors file, released name (imagenet21k/ViT-B_16), "
      "URL, --workdir of a run, or one of its checkpoints/STEP")


def add_image_size(parser: argparse.ArgumentParser) -> None:
  """Adds --image_size: one side, or HEIGHTxWIDTH."""
  parser.add_argument(
      "--image_size", type=image_size, metavar="N",
      help="side of the pictures in pixels, or HEIGHTxWIDTH (default: what "
      "the checkpoint was trained at); position embeddings are resized")


def image_size(text: str) -> tuple[int, int]:
  """Reads "384" or "224x320" as (height, width)."""
  sides = text.split("x")
  if not all(s.isdecimal() and int(s) > 0 for s in sides) or len(sides) > 2:
    raise argparse.ArgumentTypeError(
        f"{text!r} is no size; 384 or 224x320 (height x width) was expected")
  return int(sides[0]), int(sides[-1])


def positive(text: str) -> int:
  """Reads a whole number from 1."""
  if not text.isdecimal() or int(text) < 1:
    raise argparse.ArgumentTypeError(
        f"{text!r} is no number; a whole number from 1 was expected")
  return int(text)


class _Warnings(logging.Handler):
  """Writes our warnings, and everybody's errors, one line each."""

  def emit(self, record: logging.LogRecord) -> None:
    """Prints to what is standard error at the time."""
    ours = os.path.abspath(record.pathname).startswith(_PACKAGE)
    if not ours and record.levelno < logging.ERROR:
      return
    print(f"vit_jax: {record.levelname.lower()}: {record.getMessage()}",
          file=sys.stderr, flush=True)


def log_to_stderr() -> None:
  """Sends warnings to standard error as "vit_jax: warning: ...".

  Standard output is for results alone.
  """
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  from absl import logging as absl_logging

  absl_logging.set_verbosity(absl_logging.WARNING)
  root = logging.getLogger()
  root.removeHandler(absl_logging.get_absl_handler())
  if not any(isinstance(handler, _Warnings) for handler in root.handlers):
    root.addHandler(_Warnings())


def note(message: str) -> None:
  """Says what is going on, on standard error."""
  print(f"vit_jax: {message}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def stdout_is_stderr() -> Iterator[None]:
  """Keeps what libraries print off standard output."""
  with contextlib.redirect_stdout(sys.stderr):
    yield


def print_json(value: Mapping[str, Any]) -> None:
  """Prints one JSON object; numbers that JSON does not have become null."""
  print(json.dumps(_plain(value), allow_nan=False, ensure_ascii=False))


def _plain(value: Any) -> Any:
  """Returns tuples as lists, numpy scalars as numbers, NaN as None."""
  if isinstance(value, Mapping):
    return {str(k): _plain(v) for k, v in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(v) for v in value]
  if hasattr(value, "item"):
    value = value.item()
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def print_table(
    rows: Sequence[Sequence[str]], header: Sequence[str] = (), *,
    right: Sequence[int] = (), indent: int = 0,
) -> None:
  """Prints aligned columns, at most WIDTH wide; long first cells are cut.

  Args:
    rows: cells; a row of one cell is a heading over the following rows.
    header: names of the columns.
    right: columns that are aligned to the right.
    indent: spaces before every line.
  """
  lines = [header, *rows] if header else list(rows)
  full = [line for line in lines if len(line) > 1]
  widths = [max(map(len, column)) for column in zip(*full, strict=True)]
  rest = sum(widths[1:]) + 2 * (len(widths) - 1) + indent
  widths[:1] = [min(w, max(20, WIDTH - rest)) for w in widths[:1]]
  for line in lines:
    cells = [
        cell.rjust(width) if i in right else shorten(cell, width).ljust(width)
        for i, (cell, width) in enumerate(zip(line, widths, strict=False))]
    if len(line) == 1:
      cells = [line[0]]
    print((" " * indent + "  ".join(cells)).rstrip())


def shorten(text: str, width: int) -> str:
  """Cuts a text in its middle so that it is at most `width` long."""
  if len(text) <= width:
    return text
  head = (width - 3) // 2
  return text[:head] + "..." + text[len(text) - (width - 3 - head):]


def class_name(names: Sequence[str] | None, index: int) -> str:
  """Returns a class's name, or "class 123" where it has none."""
  return names[index] if names else f"class {index}"


def megabytes(count: int) -> str:
  """Returns a number of bytes for people."""
  return f"{count / 1e6:,.1f} MB"


def refuse(condition: Any, message: str) -> None:
  """Raises UsageError if `condition` holds."""
  if condition:
    raise UsageError(message)


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

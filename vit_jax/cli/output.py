"""What the verbs print: tables for people, JSON for programs."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import json
import math
import sys
from typing import Any

WIDTH = 100  # of a table, in characters


def print_json(value: Mapping[str, Any]) -> None:
  """Prints one JSON object; numbers that JSON does not have become null."""
  value = _json_value(value)
  text = json.dumps(value, allow_nan=False, ensure_ascii=False)
  try:
    text.encode(sys.stdout.encoding or "utf-8")
  except UnicodeEncodeError:
    text = json.dumps(value, allow_nan=False)
  print(text)


def _json_value(value: Any) -> Any:
  """Returns tuples as lists, numpy scalars as numbers, NaN as None."""
  if isinstance(value, Mapping):
    return {str(k): _json_value(v) for k, v in value.items()}
  if isinstance(value, list | tuple):
    return [_json_value(v) for v in value]
  if hasattr(value, "item"):
    value = value.item()
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def print_table(
    rows: Sequence[Sequence[str]], header: Sequence[str] = (), *,
    right: Sequence[int] = (), indent: int = 0,
) -> None:
  """Prints aligned columns; with a header, cuts first cells to fit WIDTH.

  Args:
    rows: cells; a row of one cell is a heading over the following rows.
    header: names of the columns.
    right: columns that are aligned to the right.
    indent: spaces before every line.
  """
  lines = [header, *rows] if header else list(rows)
  full = [line for line in lines if len(line) > 1]
  widths = [max(map(len, column)) for column in zip(*full, strict=True)]
  if header:
    rest = sum(widths[1:]) + 2 * (len(widths) - 1) + indent
    widths[0] = min(widths[0], max(20, WIDTH - rest))
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


def by(sides: Sequence[int]) -> str:
  """Returns "224x320" for (224, 320)."""
  return "x".join(map(str, sides))


def megabytes(count: int) -> str:
  """Returns a number of bytes for people."""
  return f"{count / 1e6:,.1f} MB"


@contextlib.contextmanager
def stdout_is_stderr() -> Iterator[None]:
  """Keeps what libraries print off standard output."""
  with contextlib.redirect_stdout(sys.stderr):
    yield

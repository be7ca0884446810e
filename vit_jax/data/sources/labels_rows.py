"""The lines of labels.csv, metadata.csv and metadata.jsonl."""

from collections.abc import Sequence
import csv
import io
import json
from typing import Any, NamedTuple

from vit_jax.data.sources import storage
from vit_jax.data.sources.messages import counted, shorten
from vit_jax.data.splits import canonical_split
from vit_jax.errors import DataError, suggest

_COLUMNS = ("file_name", "label", "split")


class Row(NamedTuple):
  """A line of a file with labels.

  Attributes:
    line: its number, from 1.
    file_name: of the image, as written.
    label: name of the class.
    split: its canonical name, "" if there is none.
  """

  line: int
  file_name: str
  label: str
  split: str


def read_rows(path: str) -> list[Row]:
  """Returns the rows of a file, checked one by one.

  Args:
    path: of a .csv, .tsv or .jsonl file, local or a URL.

  Raises:
    DataError: names the line that cannot be read.
  """
  shown = storage.printable(path)
  rows = []
  for line, values in _lines(path):
    where = f"{shown}, line {line}"
    for column in ("file_name", "label"):
      if column not in values:
        raise DataError(f"{where}: {column} is missing; expected file_name and "
                        f"label{suggest(column, values)}")
      if not values[column]:
        raise DataError(f"{where}: {column} is empty")
      if len(values[column].splitlines()) > 1:
        raise DataError(f"{where}: {column} is {values[column]!r}; expected no "
                        "line break in it")
    split = values.get("split", "")
    canonical = canonical_split(split) if split else ""
    if canonical is None:
      raise DataError(f"{where}: split {split!r} is unknown; expected train, "
                      "val or test")
    rows.append(Row(line, values["file_name"], values["label"], canonical))
  if not rows:
    raise DataError(f"{shown}: lists no image; expected the columns "
                    "file_name,label and a line for each image")
  return rows


def has_labels(path: str) -> bool:
  """Returns whether the first line of a file has a file_name and a label."""
  try:
    return any({"file_name", "label"} <= set(values)
               for _, values in _lines(path)[:1])
  except DataError:
    return False


def _lines(path: str) -> list[tuple[int, dict[str, str]]]:
  """Returns number and values of each line that holds some."""
  reader = _json_lines if path.lower().endswith(".jsonl") else _csv_lines
  shown = storage.printable(path)
  return reader(shown, _text(shown, storage.read(path)))


def _text(path: str, data: bytes) -> str:
  """Decodes a file; a byte-order mark at its start is dropped."""
  if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
    raise DataError(f"{path}, line 1: UTF-16; save the file as UTF-8")
  try:
    text = data.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    line = data[:error.start].count(b"\n") + 1
    raise DataError(
        f"{path}, line {line}: not UTF-8; save the file as UTF-8") from None
  if "\ufeff" in text:
    line = text[:text.index("\ufeff")].count("\n") + 1
    raise DataError(f"{path}, line {line}: a byte-order mark in the middle of "
                    "the file, as when files are joined; remove it")
  return text


def _csv_lines(path: str, text: str) -> list[tuple[int, dict[str, str]]]:
  """Returns line number and values of each line after the header.

  Columns are separated by comma, semicolon or tab, whichever the header uses.
  """
  header = text.partition("\n")[0]
  delimiter = max(",;\t", key=header.count)
  lines = csv.reader(
      io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
  rows: list[tuple[int, dict[str, str]]] = []
  columns: list[str] = []
  start = 1
  try:
    for values in lines:
      line, start = start, lines.line_num + 1
      values = [value.strip() for value in values]
      if not any(values):
        continue
      if not columns:
        columns = values
        _check_header(f"{path}, line {line}", columns)
        continue
      if len(values) != len(columns):
        raise DataError(
            f"{path}, line {line}: has {counted(len(values), 'value')} "
            f"for the {len(columns)} columns {','.join(columns)}; a value with "
            f"a {delimiter!r} needs quotes")
      rows.append((line, dict(zip(columns, values, strict=True))))
  except csv.Error as error:
    raise DataError(f"{path}, line {start}: cannot be read: {error}; check its "
                    "quotes") from None
  return rows


def _check_header(where: str, columns: Sequence[str]) -> None:
  if len(set(columns)) < len(columns):
    raise DataError(f"{where}: a column occurs twice in {','.join(columns)}")
  if "file_name" not in columns:
    raise DataError(
        f"{where}: has the columns {shorten(list(columns))}; expected "
        "file_name and label, and perhaps split")


def _json_lines(path: str, text: str) -> list[tuple[int, dict[str, str]]]:
  """Returns line number and values of each line; labels may be numbers."""
  rows = []
  for line, content in enumerate(text.split("\n"), start=1):
    if not content.strip():
      continue
    where = f"{path}, line {line}"
    try:
      values = json.loads(content)
    except ValueError as error:
      raise DataError(f"{where}: is not JSON ({error})") from None
    if not isinstance(values, dict):
      raise DataError(f"{where}: expected an object such as "
                      '{"file_name": "1.jpg", "label": "cat"}')
    rows.append((line, {
        key: _word(f"{where}: {key}", values[key]) for key in _COLUMNS
        if key in values}))
  return rows


def _word(where: str, value: Any) -> str:
  """Returns a string, or a whole number as one."""
  if isinstance(value, str):
    return value.strip()
  if isinstance(value, int) and not isinstance(value, bool):
    return str(value)
  raise DataError(f"{where} is {value!r}; expected a string or a whole number")

"""Patterns of file names: braces as in a shell, * and ?."""

import re

from vit_jax.data.sources import storage
from vit_jax.errors import DataError, UsageError

_MOST = 100_000
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(\d+))?")


def matching_files(pattern: str, data_dir: str = "") -> list[str]:
  """Returns the files that a pattern means, in its order.

  Args:
    pattern: such as data/birds-{000..146}.tar, {train,val}-*.tar, or a URL.
    data_dir: that a relative pattern is relative to.

  Raises:
    UsageError: the braces cannot be read.
    DataError: a file does not exist, or nothing matches a * or ?.
  """
  paths = []
  for text in expand_braces(pattern):
    path = storage.resolve(text, data_dir)
    if re.search(r"[*?]", text):
      matches = storage.expand(path)
      if not matches:
        raise DataError(f"{path}: matches no file; check the pattern")
      paths += matches
    else:
      paths.append(path)
  missing = [path for path in paths if not storage.is_file(path)]
  if missing:
    raise DataError(
        f"{storage.printable(missing[0])}: no such file, one of {len(missing)} "
        f"missing of the {len(paths)} that {pattern!r} means; check its range")
  return list(dict.fromkeys(paths))


def expand_braces(text: str) -> list[str]:
  """Returns the names that a text with {000..146} or {a,b} stands for.

  Raises:
    UsageError: braces that do not match, or more than 100,000 names.
  """
  start = text.find("{")
  if start < 0:
    if "}" in text:
      raise UsageError(f"{text!r}: a }} without its {{")
    return [text]
  parts, stop = _alternatives(text, start)
  match = _RANGE.fullmatch(text[start + 1:stop])
  if match:
    parts = _range(match)
  elif len(parts) < 2:
    raise UsageError(f"{text!r}: {text[start:stop + 1]!r} is neither a range "
                     "such as {000..146} nor a list such as {train,val}")
  heads = [text[:start] + name for part in parts
           for name in expand_braces(part)]
  tails = expand_braces(text[stop + 1:])
  if len(heads) * len(tails) > _MOST:
    raise UsageError(f"{text!r}: means more than {_MOST:,} files")
  return [head + tail for head in heads for tail in tails]


def _alternatives(text: str, start: int) -> tuple[list[str], int]:
  """Returns the parts between commas, and where the brace is closed."""
  depth, begin, parts = 0, start + 1, []
  for i in range(start, len(text)):
    depth += (text[i] == "{") - (text[i] == "}")
    if depth == 1 and text[i] == "," or not depth:
      parts.append(text[begin:i])
      begin = i + 1
    if not depth:
      return parts, i
  raise UsageError(f"{text!r}: a {{ without its }}")


def _range(match: re.Match[str]) -> list[str]:
  """Returns the numbers of a range, as wide as its padded bound."""
  low, high, step = int(match[1]), int(match[2]), int(match[3] or 1) or 1
  if abs(high - low) // step >= _MOST:
    raise UsageError(f"{{{match[0]}}} means more than {_MOST:,} files")
  padded = any(re.match(r"-?0\d", bound) for bound in match.group(1, 2))
  width = max(map(len, match.group(1, 2))) if padded else 0
  sign = 1 if high >= low else -1
  return [f"{number:0{width}d}"
          for number in range(low, high + sign, sign * step)]

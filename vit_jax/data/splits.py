"""The text that names a part of a data set: "train[:98%]", "train+val"."""

from collections.abc import Mapping
import re

from vit_jax.errors import DataError, UsageError, suggest

_PART = re.compile(
    r"(?P<name>[\w.-]+)(\[(?P<low>[^:\[\]]*):(?P<high>[^:\[\]]*)\])?")
_BOUND = re.compile(r"(?P<number>-?\d+(\.\d+)?)(?P<percent>%?)")
# One split has three usual names; each finds the one that the data set has.
_VALIDATION = ("val", "validation", "valid")


def resolve_split(
    text: str, sizes: Mapping[str, int]) -> list[tuple[str, range]]:
  """Returns (split name, range of its examples) for each part of the text.

  Parts are joined by "+". A bound is a number of examples or a percentage,
  rounded to the nearest example, so that [:98%] and [98%:] never overlap and
  leave nothing out. Negative bounds count from the end. "val", "validation"
  and "valid" are one name.

  Args:
    text: such as "train", "train[:98%]", "train[100:200]+test".
    sizes: number of examples of each split of the data set.

  Raises:
    UsageError: the text cannot be read, names no split of this data set, or
      asks for more examples than there are.
    DataError: no example is left.
  """
  parts = []
  for part in text.replace(" ", "").split("+"):
    match = _PART.fullmatch(part)
    if not match:
      raise UsageError(
          f"split {text!r}: cannot read {part!r}; expected a name with an "
          "optional slice, such as train, train[:98%] or train[100:200]+val")
    name = _find(match["name"], sizes, text)
    low = _bound(match["low"], 0, sizes[name], text)
    high = _bound(match["high"], sizes[name], sizes[name], text)
    parts.append((name, range(low, max(low, high))))
  if not sum(len(indices) for _, indices in parts):
    counts = ", ".join(f"{name}: {sizes[name]}" for name, _ in parts)
    raise DataError(f"split {text!r} holds no example ({counts} in all)")
  return parts


def split_names(text: str) -> set[str]:
  """Returns every split name that the text may mean (val: all its names)."""
  names = {part.partition("[")[0].strip() for part in text.split("+")}
  return names | (set(_VALIDATION) if names & set(_VALIDATION) else set())


def _find(name: str, sizes: Mapping[str, int], text: str) -> str:
  """Returns the name under which the data set has this split."""
  candidates = (name, *_VALIDATION) if name in _VALIDATION else (name,)
  for candidate in candidates:
    if candidate in sizes:
      return candidate
  known = ", ".join(sorted(sizes)) or "none"
  raise UsageError(f"split {text!r}: no split {name!r}; there are: {known}"
                   f"{suggest(name, sizes)}")


def _bound(
    bound: str | None, default: int, size: int, text: str) -> int:
  """Returns the example number that one side of a slice means."""
  if not bound:
    return default
  match = _BOUND.fullmatch(bound)
  if not match or ("." in bound and not match["percent"]):
    raise UsageError(f"split {text!r}: {bound!r} is neither a number of "
                     "examples nor a percentage such as 98%")
  number = float(match["number"])
  index = round(number * size / 100) if match["percent"] else int(number)
  if abs(index) > size:
    raise UsageError(
        f"split {text!r}: {bound!r} is beyond the {size} examples")
  return index + size if bound.startswith("-") else index

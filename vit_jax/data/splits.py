"""The text that names a part of a data set: "train[:98%]", "train+val"."""

from collections.abc import Iterable, Mapping
import re

from vit_jax.errors import DataError, UsageError, suggest

_PART = re.compile(
    r"(?P<name>[\w.-]+)(\[(?P<low>[^:\[\]]*):(?P<high>[^:\[\]]*)\])?")
_BOUND = re.compile(r"(?P<number>-?\d+(\.\d+)?)(?P<percent>%?)")
# The usual names of a split; each finds the one that the data set has. Some
# mean the test split by "eval", and some, beside a test split, validation.
_USUAL_NAMES = {
    "train": ("train", "training", "trn", "trainval"),
    "val": ("val", "valid", "validation", "validate", "dev", "development"),
    "test": ("test", "testing", "tst", "holdout"),
    "eval": ("eval", "evaluation"),
}
_CANONICAL = {name: split for split, names in _USUAL_NAMES.items()
              for name in names}
# Words that people add, as in "Train-Set", "val_images" and "test2017".
_ADDITIONS = ("set", "data", "dataset", "image", "images", "img", "imgs",
              "picture", "pictures", "photo", "photos", "split", "folder")


def resolve_split(
    text: str, sizes: Mapping[str, int]) -> list[tuple[str, range]]:
  """Returns (split name, range of its examples) for each part of the text.

  Parts are joined by "+". A bound is a number of examples or a percentage,
  rounded to the nearest example, so that [:98%] and [98%:] never overlap and
  leave nothing out. Negative bounds count from the end. A split goes by all
  its usual names: "val" finds "validation" (see `canonical_split`).

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
  """Returns the canonical names of the splits in a text, slices left out."""
  names = {part.partition("[")[0].strip() for part in text.split("+")}
  names = {canonical_split(name) or name for name in names}
  return names | ({"eval"} if names & {"val", "test"} else set())


def canonical_split(name: str) -> str | None:
  """Returns "train", "val", "test" or "eval" for a usual name of a split.

  Case, digits and additions do not matter: "Train", "training_set", "val2017"
  and "Test-Images" are usual names. Other names, such as "cat", give None.
  """
  words = _words(name)
  return _canonical_word(words[0]) if len(words) == 1 else None


def splits_of(names: Iterable[str]) -> dict[str, str]:
  """Returns name -> split of those among some names that are of splits.

  Besides the usual names these are names with a word in common that is no
  split, of at least two splits: "seg_train" and "seg_test", "asl-val" and
  "asl-train". One of them alone may be anything, such as "steam_train".
  """
  found: dict[str, str] = {}
  sharing: dict[tuple[str, ...], dict[str, str]] = {}
  for name in names:
    words = _words(name)
    splits = [word for word in words if _canonical_word(word)]
    if len(splits) == 1:
      split = _canonical_word(splits[0]) or ""
      rest = tuple(word for word in words if word != splits[0])
      if rest:
        sharing.setdefault(rest, {})[name] = split
      else:
        found[name] = split
  for members in sharing.values():
    if len(set(members.values())) > 1:
      found |= members
  return found


def _words(name: str) -> list[str]:
  """Returns the words of a name that are no additions."""
  words = re.split(r"[\W\d_]+", name.casefold())
  return [word for word in words if word and word not in _ADDITIONS]


def _canonical_word(word: str) -> str | None:
  for addition in _ADDITIONS:  # "trainset"
    if word.removesuffix(addition) in _CANONICAL:
      word = word.removesuffix(addition)
  return _CANONICAL.get(word)


def _find(name: str, sizes: Mapping[str, int], text: str) -> str:
  """Returns the name under which the data set has this split."""
  if name in sizes:
    return name
  meant = canonical_split(name)
  for split in (meant, "eval") if meant in ("val", "test") else (meant,):
    candidates = [size for size in sizes if canonical_split(size) == split]
    if split and len(candidates) == 1:
      return candidates[0]
  existing = ", ".join(sorted(sizes)) or "none"
  raise UsageError(f"split {text!r}: no split {name!r}; there are: {existing}"
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

"""Which examples a split and a slice of it mean.

A slice such as train[:90%] of a data set that lies in the order of its classes
(folders, label files, shards) is a fixed random sample with the same share of
every class. It depends on the names of the examples alone: it is the same on
every machine, train[:90%] and train[90%:] share no example and leave none out,
and an example that is added moves hardly any other to the other side.
"""

from collections.abc import Mapping, Sequence
import hashlib
import os
import unicodedata

from jaxtyping import Int
import numpy as np

from vit_jax.data.sources.messages import counted, shorten, warn_once
from vit_jax.data.splits import resolve_split

ALL = "all"  # Every example, whichever split it is in.
_FEW = 10
_SHARES = (("train", 80), ("val", 10), ("test", 10))  # By hash, in percent.


def split_of(name: str) -> str:
  """Returns the split of an example of a data set without splits.

  80 % go to train, 10 % to val and 10 % to test, by a hash of the name: an
  example stays in its split when others are added, and is in the same one on
  every machine.
  """
  bucket = _number(name) % 100
  for split, share in _SHARES:
    if bucket < share:
      return split
    bucket -= share
  raise AssertionError(bucket)


def select(
    text: str, splits: Mapping[str, Int[np.ndarray, " _"]],
    names: Sequence[str], labels: Int[np.ndarray, " n"],
) -> Int[np.ndarray, " m"]:
  """Returns the numbers of the examples that a split text means.

  Args:
    text: such as "train", "train[:90%]" or "all"; see splits.py.
    splits: the example numbers of each split, ascending. "all" is added.
    names: of all n examples.
    labels: of all n examples.

  Returns:
    Example numbers; the order within a split does not change.

  Raises:
    UsageError, DataError: see splits.resolve_split.
  """
  splits = {**splits, ALL: np.sort(np.concatenate(list(splits.values())))}
  chosen = []
  for split, part in resolve_split(
      text, {split: len(members) for split, members in splits.items()}):
    members = splits[split]
    if len(part) < len(members):
      order = mixed_order([names[i] for i in members.tolist()], labels[members])
      members = members[np.sort(order[part.start:part.stop])]
    chosen.append(members)
  return np.concatenate(chosen)


def mixed_order(
    names: Sequence[str], labels: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
  """Returns a fixed order whose every stretch has all classes by their share.

  The examples of a class are ordered by a hash of their names and spread
  evenly over the whole: example i of a class of k is at (i + 1/2) / k.
  """
  hashes = np.array([_number(f"sample {name}") for name in names], np.uint64)
  order = np.lexsort((hashes, labels))
  counts = np.bincount(labels, minlength=1)
  starts = np.repeat(np.cumsum(counts) - counts, counts)
  position = np.empty(len(names))
  position[order] = ((np.arange(len(names)) - starts + 0.5)
                     / np.repeat(counts, counts))
  return np.lexsort((hashes, position))


def warn_of_gaps(
    name: str, labels: Int[np.ndarray, " n"], class_names: Sequence[str],
) -> None:
  """Logs a warning for a split that lacks classes or is very small."""
  counts = np.bincount(labels, minlength=len(class_names))
  lacking = [name for name, count in zip(class_names, counts, strict=True)
             if not count]
  reasons = [f"no image of {shorten(lacking)}"] if lacking else []
  warn_of_size(name, len(labels), reasons)


def warn_of_size(
    name: str, count: int, reasons: Sequence[str] = ()) -> None:
  """Logs a warning for a split of fewer than ten images."""
  if count < _FEW:
    reasons = [f"only {counted(count, 'image')}", *reasons]
  if reasons:
    warn_once(f"{name}: {', '.join(reasons)}")


def _number(name: str) -> int:
  """Returns a hash of 64 bits that does not depend on how a name is composed.

  The same on disks that store é as one character and as two.
  """
  text = unicodedata.normalize("NFC", name.replace(os.sep, "/"))
  digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
  return int.from_bytes(digest[:8], "big")

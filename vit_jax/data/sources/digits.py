"""The embedded data set: scikit-learn's 1,797 handwritten digits, 8x8."""

import functools

from jaxtyping import Int, UInt8
import numpy as np

from vit_jax.data import splits
from vit_jax.data.sources.source import Example, Source

CLASS_NAMES = tuple("0123456789")
# Share of each class; what is left of a class after rounding goes to test.
_SHARES = {"train": 0.7, "val": 0.1}


def open_digits(split: str) -> Source:
  """Opens a part of the digits, such as "train" or "train+val[:50%]".

  Raises:
    UsageError: no such split.
    DataError: the split is empty.
  """
  members = split_indices()
  parts = splits.resolve_split(
      split, {name: len(indices) for name, indices in members.items()})
  return Source(
      name=f"digits, {split}", class_names=CLASS_NAMES, num_classes=10,
      read=_read, origin="digits",
      indices=np.concatenate([members[name][part] for name, part in parts]))


@functools.cache
def arrays() -> tuple[UInt8[np.ndarray, "n 8 8 3"], Int[np.ndarray, " n"]]:
  """Returns all images (grey levels 0..16 scaled to 0..255) and labels."""
  from sklearn import datasets  # Slow to import, needed here only.

  digits = datasets.load_digits()
  grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
  return np.repeat(grey[..., None], 3, axis=-1), digits.target.astype(np.int64)


@functools.cache
def split_indices() -> dict[str, Int[np.ndarray, " n"]]:
  """Returns the example numbers of train (1,258), val (179) and test (360).

  Each class is shuffled once and cut 70 / 10 / 20 %, then every split is
  shuffled. The permutation is part of the data set and never changes:
  RandomState's stream is frozen by numpy's compatibility policy.
  """
  _, labels = arrays()
  rng = np.random.RandomState(1797)
  parts_of: dict[str, list[np.ndarray]] = {"train": [], "val": [], "test": []}
  for label in range(len(CLASS_NAMES)):
    members = rng.permutation(np.flatnonzero(labels == label))
    train = round(_SHARES["train"] * len(members))
    val = train + round(_SHARES["val"] * len(members))
    for name, part in zip(
        parts_of, np.split(members, [train, val]), strict=True):
      parts_of[name].append(part)
  return {name: rng.permutation(np.concatenate(parts))
          for name, parts in parts_of.items()}


def _read(index: int) -> Example:
  images, labels = arrays()
  return {"image": images[index], "label": int(labels[index]),
          "id": f"digits {index}", "file": ""}

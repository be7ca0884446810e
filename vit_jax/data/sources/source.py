"""A source: the examples of one split, readable in any order."""

from collections.abc import Callable
import dataclasses
import hashlib
import json
from typing import TypedDict

from jaxtyping import Int, UInt8
import numpy as np


class Example(TypedDict):
  """One image, not decoded yet; see vit_jax.data.decode.decode."""

  image: bytes | UInt8[np.ndarray, "h w c"]
  label: int
  id: str  # For people: the file, or the place in the data set.
  file: str  # The name the file was published under; "" if unknown.


@dataclasses.dataclass(frozen=True)
class Source:
  """A split of a data set.

  It knows nothing of epochs, batches or processes (see loader.py).

  Attributes:
    name: data set and split, such as "tfds:cifar10, train[:98%]".
    class_names: one name per label, or None if the data set has none.
    num_classes: labels are 0..num_classes - 1.
    read: example number within the data set -> Example.
    indices: the example numbers that belong to the split, in order.
    origin: distinguishes data sets; does not depend on where the files lie.
    labels: the label of each example of the split, or None if they are not
      known before the examples are read.
  """

  name: str
  class_names: tuple[str, ...] | None
  num_classes: int
  read: Callable[[int], Example]
  indices: Int[np.ndarray, " n"]
  origin: str
  labels: Int[np.ndarray, " n"] | None = None

  def __len__(self) -> int:
    return len(self.indices)

  def __getitem__(self, index: int) -> Example:
    return self.read(int(self.indices[index]))


def fingerprint(source: Source) -> str:
  """Returns 16 hex digits that change when the data set or split does.

  Computed from names, counts and classes, not from pixels: it is fast, and
  does not change when the files are moved.
  """
  facts = [source.origin, len(source), source.num_classes,
           source.class_names,
           hashlib.sha256(source.indices.astype("<i8").tobytes()).hexdigest()]
  return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

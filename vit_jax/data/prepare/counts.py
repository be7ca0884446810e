"""The official numbers of images and classes, and what differs from them."""

from collections.abc import Mapping
import dataclasses

import numpy as np

from vit_jax.data.class_names import EMPTY_ROWS
from vit_jax.data.prepare.contents import Contents

_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Expected:
  """The official numbers of a data set.

  Attributes:
    classes: number of classes.
    splits: number of images of each split.
    per_class: number of images of every class in each split, if constant.
    approximate: the splits' numbers are published, but copies differ.
  """

  classes: int
  splits: Mapping[str, int]
  per_class: Mapping[str, int] = dataclasses.field(default_factory=dict)
  approximate: bool = False


# From the official pages; ImageNet-21k: image-net.org for all of fall11.
EXPECTED = {
    "imagenet2012": Expected(
        1000, {"train": 1_281_167, "validation": 50_000}, {"validation": 50}),
    "imagenet21k": Expected(21_843, {"full": 14_197_122}, approximate=True),
    "imagenet21k_fall11": Expected(
        21_841, {"full": 14_197_122}, approximate=True),
    "imagenet21k_winter21": Expected(19_167, {}, approximate=True),
    "cifar10": Expected(
        10, {"train": 50_000, "test": 10_000}, {"train": 5000, "test": 1000}),
    "cifar100": Expected(
        100, {"train": 50_000, "test": 10_000}, {"train": 500, "test": 100}),
    "imagenette": Expected(10, {"train": 9469, "validation": 3925}),
    "oxford_iiit_pet": Expected(37, {"train": 3680, "test": 3669}),
    "oxford_flowers102": Expected(
        102, {"train": 1020, "validation": 1020, "test": 6149},
        {"train": 10, "validation": 10}),
}


def problems(contents: Contents, expected: Expected | None) -> list[str]:
  """Returns sentences on how a data set differs from the official numbers."""
  messages = []
  names = contents.class_names
  if expected and len(names) != expected.classes:
    messages.append(f"{len(names):,} classes of {expected.classes:,}")
  wanted = expected.splits if expected and not expected.approximate else {}
  for split in dict.fromkeys((*contents.splits, *wanted)):
    if split not in contents.splits:
      messages.append(f"{split} is missing ({wanted[split]:,} images)")
      continue
    labels = contents.splits[split].labels
    if split in wanted and len(labels) != wanted[split]:
      messages.append(f"{split}: {len(labels):,} images of {wanted[split]:,}")
    each = np.bincount(labels, minlength=len(names))
    should = contents.per_class.get(split)
    if should is None and expected and split in expected.per_class:
      should = np.full(len(names), expected.per_class[split])
    if should is None:
      continue
    wrong = [f"{names[k]} has {each[k]:,} of {should[k]:,}"
             for k in np.flatnonzero(each != should)]
    if wrong:
      messages.append(f"{split}: {_some(wrong)}")
  empty = np.flatnonzero(sum(
      np.bincount(split.labels, minlength=len(names))
      for split in contents.splits.values()) == 0)
  unexpected = [names[k] for k in empty if names[k] not in EMPTY_ROWS]
  if unexpected:
    messages.append(f"no image of {_some(unexpected)}")
  return messages


def _some(items: list[str]) -> str:
  """Returns the first few items, and the number of the rest."""
  more = len(items) - _SHOWN
  return ", ".join(items[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")

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

"""The classes of a data set beside those of a model: matched by name."""

from collections import Counter
from collections.abc import Callable, Sequence
import dataclasses
import functools
import unicodedata

from jaxtyping import Int
import numpy as np

from vit_jax.data.class_names import readable
from vit_jax.data.sources.messages import shorten, warn_once
from vit_jax.data.sources.source import Example, Source
from vit_jax.errors import DataError, suggest

UNLABELLED = " (-1 means unlabelled: take a split that has labels)"


class LabelError(DataError):
  """A label is not one of the classes; unlike a broken image never skipped."""


def match_classes(
    source: Source, class_names: Sequence[str] | None, num_classes: int
) -> Source:
  """Returns the source with its labels as numbers of the model's classes.

  Classes are matched by name, so that a test set may lack some of them or
  have them in another order. Without names on one side, numbers count, and
  there must be as many.

  Args:
    source: the examples.
    class_names: of the model, one for each output; None if unknown.
    num_classes: outputs of the model's head.

  Raises:
    DataError: the source has a class that the model does not have, or names
      are missing and the numbers of classes differ.
    LabelError: (from reading) an example's label is not one of the classes.
  """
  if not class_names or not source.class_names:
    if source.num_classes != num_classes:
      raise DataError(
          f"{source.name}: {source.num_classes} classes, but the model's head "
          f"has {num_classes}, and without the names of "
          f"{'its' if source.class_names else 'their'} classes they cannot be "
          "matched; expected as many, or class_names in model.json and in the "
          "data set")
    return check_labels(source)
  numbers = _numbers(source, class_names)
  if numbers == list(range(num_classes)):
    return check_labels(source)
  labels = source.labels
  return dataclasses.replace(
      source, class_names=tuple(class_names), num_classes=num_classes,
      labels=None if labels is None else np.array(numbers, np.int32)[labels],
      read=functools.partial(
          _renumbered, check_labels(source).read, numbers))


def check_labels(source: Source) -> Source:
  """Returns the source; its examples raise LabelError for a wrong label.

  Without this check such an example would be scored as wrong, with a loss
  of 0.
  """
  return dataclasses.replace(source, read=functools.partial(
      _checked, source.read, source.num_classes))


def count_labels(source: Source) -> Int[np.ndarray, " k"]:
  """Returns the number of examples of each class of a split.

  Where the labels are not known before, every example is read, once.

  Raises:
    LabelError: (from such reading) a label is not one of the classes.
  """
  labels = source.labels
  if labels is None:
    checked = check_labels(source)
    labels = np.array(
        [checked[i]["label"] for i in range(len(checked))], np.int64)
  return np.bincount(labels, minlength=source.num_classes)


def _numbers(source: Source, class_names: Sequence[str]) -> list[int]:
  """Returns the model's number of each class of the source."""
  model_names = [_plain(name) for name in readable(class_names)]
  data_names = [_plain(name) for name in readable(source.class_names or ())]
  counts = Counter(model_names)
  numbers = {name: number for number, name in enumerate(model_names)
             if counts[name] == 1}
  missing = [name for name in data_names if name not in numbers]
  if not missing:
    return [numbers[name] for name in data_names]
  equal = sum(map(str.__eq__, data_names, model_names))
  if (len(data_names) == len(model_names)
      and equal == len(data_names) - len(missing) >= 0.9 * len(data_names)):
    # One list in two spellings (ImageNet's two cranes, say): the common names
    # have the same numbers.
    warn_once(
        f"{source.name}: the model has other names for {shorten(missing, 3)}; "
        "matched by number, since all other classes have the same numbers")
    return list(range(len(data_names)))
  raise DataError(
      f"{source.name}: class {shorten(missing, 4)} is not one of the model's "
      f"{len(class_names)} classes {shorten(class_names, 4)}"
      f"{suggest(missing[0], list(class_names))}; rename the data set's "
      "classes, or class_names in model.json")


def _plain(name: str) -> str:
  return unicodedata.normalize("NFC", name)


def _checked(
    read: Callable[[int], Example], num_classes: int, index: int) -> Example:
  example = read(index)
  label = example["label"]
  if not 0 <= label < num_classes:
    raise LabelError(
        f"{example['id']}: label {label}, but the classes are 0 to "
        f"{num_classes - 1}{UNLABELLED if label < 0 else ''}")
  return example


def _renumbered(
    read: Callable[[int], Example], numbers: Sequence[int], index: int
) -> Example:
  example = read(index)
  return {**example, "label": numbers[example["label"]]}

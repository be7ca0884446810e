"""ImageNet-ReaL (Beyer et al., 2020): reassessed labels of the validation set.

Each image has the set of the classes that people see in it.
"""

from collections.abc import Callable
import dataclasses
import functools
import re

from vit_jax.data.sources import Example
from vit_jax.errors import DataError, UsageError
from vit_jax.evaluators.context import EvalContext
from vit_jax.evaluators.set_accuracy import (
  SetAccuracy,
  check_class_numbers,
  is_class_set,
  read_json,
)

# ILSVRC2012_val_00000001.JPEG is the first of the validation images.
_NUMBER = re.compile(r"(\d{8})\.\w+$")


def make(context: EvalContext, *, labels: str) -> SetAccuracy:
  """Returns the evaluator of ImageNet-ReaL.

  Args:
    context: `source` is ImageNet's validation images, as a folder or
      tfds:imagenet2012, under their published file names: the number in the
      name is the place in `labels`.
    labels: path of real.json as published, a list of classes for each of the
      50,000 images. Those with an empty list are left out.

  Raises:
    UsageError: no path is given.
    DataError: real.json cannot be read, or an image's name has no number.
  """
  images = context.open_source()
  classes = read_real(labels, context.model.num_classes)
  numbered = dataclasses.replace(
      images, labels=None,
      read=functools.partial(_read_numbered, images.read, len(classes)))
  numbered[0]  # A split whose images have other names is refused at once.
  return SetAccuracy(context, source=images, rows=numbered, classes=classes)


def read_real(path: str, num_classes: int) -> list[list[int]]:
  """Reads real.json: the right classes of each validation image.

  Raises:
    UsageError: no path is given.
    DataError: not such a file, or it has classes that the model does not.
  """
  if not path:
    raise UsageError(
        "ImageNet-ReaL needs labels=PATH of real.json, as published in "
        "github.com/google-research/reassessed-imagenet")
  classes = read_json(path)
  if not (isinstance(classes, list) and classes
          and all(is_class_set(one) for one in classes)):
    raise DataError(f"{path}: a list of lists of class numbers was expected, "
                    "one list for each image, as in the published real.json")
  check_class_numbers(path, classes, num_classes)
  return classes


def _read_numbered(
    read: Callable[[int], Example], count: int, index: int
) -> Example:
  """Returns an example labelled with the number in its file's name."""
  example = read(index)
  name = example["file"]
  match = _NUMBER.search(name)
  if not match or not 1 <= int(match[1]) <= count:
    raise DataError(
        f"{example['id']}: file name {name!r} has no number from 1 to {count}; "
        "the images must have their published names, "
        "ILSVRC2012_val_00000001.JPEG, to be found in real.json")
  return {**example, "label": int(match[1]) - 1}

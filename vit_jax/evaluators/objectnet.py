"""ObjectNet (Barbu et al., 2019): objects in unusual places (paper, D.9).

Its folders are named after objects, of which 113 are among ImageNet's classes.
Which classes these are is read from the files that it is published with.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import os

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from vit_jax.data import decode
from vit_jax.data.sources import Example, files_source
from vit_jax.data.sources.tree import Folder
from vit_jax.errors import DataError, UsageError, suggest
from vit_jax.evaluators.context import EvalContext
from vit_jax.evaluators.passes import Batch
from vit_jax.evaluators.set_accuracy import (
  ClassSet,
  SetAccuracy,
  check_class_numbers,
  is_class_set,
  read_json,
)

ReadFn = Callable[[int], Example]

# Pixels of the red frame around every image of ObjectNet.
BORDER = 2


def make(context: EvalContext, *, labels: str) -> SetAccuracy:
  """Returns the evaluator of ObjectNet.

  As in BiT, section 3.6, only images of objects that are ImageNet classes are
  scored. "accuracy" and "accuracy_top5" are of predictions among all classes
  of the model; "overlap_accuracy" and "overlap_accuracy_top5" choose among the
  objects only, each with the score of the best of its ImageNet classes, as
  later papers do.

  Args:
    context: `source` is the folder images/ with one sub-folder an object; all
      of it is for testing, `split` is ignored.
    labels: see `read_overlap`.

  Raises:
    UsageError: there is no such folder, or no path of labels.
    DataError: the files of the labels do not fit the folder or the model.
  """
  root = context.existing_folder()
  num_classes = context.model.num_classes
  overlap = read_overlap(labels, num_classes)
  files = []
  folders = {folder.name: folder for folder in Folder(root).folders}
  names = sorted(set(folders) & set(overlap))
  if not names:
    raise DataError(
        f"{root}: none of the folders that {labels} names was found; expected "
        f"images/ of ObjectNet with {', '.join(sorted(overlap)[:3])}, ...")
  for row, name in enumerate(names):
    files += [(path, row) for path in folders[name].all_images()]
  if not files:
    raise DataError(f"{root}: no image in the folders")
  sets = [overlap[name] for name in names]
  by_row = files_source(root, files, name=root, class_names=None,
                        num_classes=len(names))
  by_row = dataclasses.replace(
      by_row, read=functools.partial(_without_border, by_row.read))
  by_class = dataclasses.replace(
      by_row, num_classes=num_classes, labels=None,
      read=functools.partial(_first_class, by_row.read, sets))
  return SetAccuracy(
      context, source=by_class, rows=by_row, classes=sets,
      more=functools.partial(_overlap_hits, _padded(sets)))


def read_overlap(path: str, num_classes: int) -> dict[str, list[int]]:
  """Returns the ImageNet classes of each ObjectNet folder that has some.

  Args:
    path: the folder mappings/ that ObjectNet comes with
      (folder_to_objectnet_label.json, objectnet_to_imagenet_1k.json,
      pytorch_to_imagenet_2012_id.json and imagenet_to_label_2012_v2), or one
      JSON file {folder: [class number, ...]}.
    num_classes: of the model.

  Raises:
    UsageError: no path is given.
    DataError: a file is missing or does not fit the others.
  """
  if not path:
    raise UsageError(
        "ObjectNet needs labels=PATH of the folder mappings/ that it comes "
        "with, or of a JSON file {folder: [ImageNet class, ...]}")
  path = os.path.expanduser(path)
  overlap = _from_mappings(path) if os.path.isdir(path) else read_json(path)
  if not (isinstance(overlap, dict) and overlap
          and all(is_class_set(one) and one for one in overlap.values())):
    raise DataError(f"{path}: {{folder: [ImageNet class, ...]}} was expected")
  check_class_numbers(path, overlap.values(), num_classes)
  return overlap


def _from_mappings(path: str) -> dict[str, list[int]]:
  """Joins the four files of mappings/."""
  folders = read_json(f"{path}/folder_to_objectnet_label.json")
  objects = read_json(f"{path}/objectnet_to_imagenet_1k.json")
  lines = read_json(f"{path}/pytorch_to_imagenet_2012_id.json")
  try:
    with open(f"{path}/imagenet_to_label_2012_v2", encoding="utf-8") as file:
      texts = [line.strip() for line in file]
  except OSError as error:
    raise DataError(f"{error.filename}: cannot be read: {error.strerror}"
                    ) from None
  # Class number -> line of the list of names, counted from 0.
  numbers = {texts[line]: int(number) for number, line in lines.items()
             if line < len(texts)}
  overlap = {}
  for name, label in folders.items():
    if label not in objects:
      continue
    overlap[name] = [
        _class_number(text, numbers, path)
        for text in objects[label].split("; ")]
  return overlap


def _class_number(text: str, numbers: dict[str, int], path: str) -> int:
  if text not in numbers:
    raise DataError(
        f"{path}/objectnet_to_imagenet_1k.json: {text!r} is not in "
        f"imagenet_to_label_2012_v2{suggest(text, numbers)}")
  return numbers[text]


def _padded(sets: Sequence[ClassSet]) -> Int[np.ndarray, "g m"]:
  """Returns the sets as rows, filled up with -1."""
  rows = np.full((len(sets), max(map(len, sets))), -1, np.int32)
  for row, one in zip(rows, sets, strict=True):
    row[:len(one)] = one
  return rows


def group_scores(
    logits: Float[Array, "b k"], members: Int[np.ndarray, "g m"]
) -> Float[Array, "b g"]:
  """Returns the greatest logit of each group of classes; -1 pads a group."""
  chosen = jnp.take(logits, jnp.maximum(members, 0), axis=-1)
  return jnp.max(jnp.where((members >= 0)[None], chosen, -jnp.inf), axis=-1)


def _overlap_hits(
    members: np.ndarray, logits: jax.Array, batch: Batch
) -> dict[str, jax.Array]:
  """Scores the choice among the objects; the label is the object's row."""
  scores = group_scores(logits, members)
  best = jax.lax.top_k(scores, min(5, scores.shape[-1]))[1]
  hits = best == batch["label"][:, None]
  return {
      "overlap_accuracy": hits[:, 0].astype(jnp.float32),
      "overlap_accuracy_top5": jnp.any(hits, axis=-1).astype(jnp.float32)}


def _without_border(read: ReadFn, index: int) -> Example:
  """Cuts off the frame, unless nothing would be left of the image."""
  example = read(index)
  try:
    image = decode.decode(example["image"])
  except DataError:
    return example  # The loader counts it and reports what is wrong.
  image = image[BORDER:-BORDER, BORDER:-BORDER]
  return {**example, "image": image} if image.size else example


def _first_class(
    read: ReadFn, sets: Sequence[ClassSet], index: int
) -> Example:
  example = read(index)
  return {**example, "label": sets[example["label"]][0]}

"""Test sets made for ImageNet models: ImageNet-V2 and ObjectNet.

Neither comes with its classes in the model's order: ImageNet-V2's folders are
numbers, ObjectNet's are names of objects, of which 113 are among ImageNet's
classes. The lists that say which are read from the files that ObjectNet is
published with.
"""

from collections.abc import Sequence
import dataclasses
import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vit_jax.data import decode, folder
from vit_jax.data.sources import Example, Source, files_source
from vit_jax.errors import DataError, UsageError, suggest
from vit_jax.evaluators.accuracy import Accuracy
from vit_jax.evaluators.multilabel import SetAccuracy, group_scores, read_json
from vit_jax.evaluators.passes import Batch

# Pixels of the red frame around every picture of ObjectNet.
BORDER = 2


def make_imagenet_v2(
    *, source: str, split: str, data_dir: str, **kwargs: Any
) -> Accuracy:
  """Returns the evaluator of ImageNet-V2 (Recht et al., 2019).

  Args:
    source: the unpacked archive: a folder with sub-folders 0 to 999, whose
      names are class numbers (as text they would be sorted 0, 1, 10, 100,
      ...). Or tfds:imagenet_v2, which knows its classes.
    split: of tfds:imagenet_v2; the folder has none.
    data_dir: see `vit_jax.data.sources.make_source`.
    **kwargs: see `vit_jax.evaluators.accuracy.Accuracy`.
  """
  if source.startswith("tfds:"):
    return Accuracy(source=source, split=split, data_dir=data_dir, **kwargs)
  root = _existing(source, data_dir)
  return Accuracy(
      source=numbered_folders(root, kwargs["model"].num_classes), **kwargs)


def numbered_folders(root: str, num_classes: int) -> Source:
  """Opens a folder whose sub-folders are named by class number.

  Raises:
    DataError: a folder that is no class of the model, or no picture.
  """
  names = folder.subfolders(root)
  wrong = [n for n in names if not n.isdecimal() or int(n) >= num_classes]
  if wrong or not names:
    raise DataError(
        f"{root}: folders named 0 to {num_classes - 1}, the model's classes, "
        f"were expected, found {', '.join(wrong[:5]) or 'none'}")
  files = [(path, int(name)) for name in sorted(names, key=int)
           for path in folder.pictures(root, name)]
  if not files:
    raise DataError(f"{root}: no picture in the folders")
  return files_source(root, files, name=root, class_names=None,
                      num_classes=num_classes)


def make_objectnet(
    *, source: str, split: str, data_dir: str, labels: str, **kwargs: Any
) -> SetAccuracy:
  """Returns the evaluator of ObjectNet (Barbu et al., 2019; paper, D.9).

  As in BiT, section 3.6, the pictures of the objects that ImageNet has are
  scored and the others are not looked at. "accuracy" and "accuracy_top5" are
  of predictions among all classes of the model; "overlap_accuracy" and
  "overlap_accuracy_top5" choose among the objects only, each with the score
  of the best of its ImageNet classes, as later papers do.

  Args:
    source: the folder images/ with one sub-folder an object.
    split: of no use: all of ObjectNet is for testing.
    data_dir: where the folder lies.
    labels: see `read_overlap`.
    **kwargs: see SetAccuracy.
  """
  root = _existing(source, data_dir)
  model = kwargs["model"]
  overlap = read_overlap(labels, model.num_classes)
  files = []
  names = sorted(set(folder.subfolders(root)) & set(overlap))
  if not names:
    raise DataError(
        f"{root}: none of the folders that {labels} names was found; expected "
        f"images/ of ObjectNet with {', '.join(sorted(overlap)[:3])}, ...")
  for row, name in enumerate(names):
    files += [(path, row) for path in folder.pictures(root, name)]
  if not files:
    raise DataError(f"{root}: no picture in the folders")
  sets = [overlap[name] for name in names]
  by_row = files_source(root, files, name=root, class_names=None,
                        num_classes=len(names))
  by_row = dataclasses.replace(
      by_row, read=functools.partial(_without_border, by_row.read))
  by_class = dataclasses.replace(
      by_row, num_classes=model.num_classes,
      read=functools.partial(_first_class, by_row.read, sets))
  return SetAccuracy(
      source=by_class, rows=by_row, classes=sets,
      more=functools.partial(_overlap_hits, _padded(sets)), **kwargs)


def read_overlap(path: str, num_classes: int) -> dict[str, list[int]]:
  """Returns the ImageNet classes of each ObjectNet folder that has some.

  Args:
    path: the folder mappings/ that ObjectNet comes with
      (folder_to_objectnet_label.json, objectnet_to_imagenet_1k.json,
      pytorch_to_imagenet_2012_id.json and imagenet_to_label_2012_v2), or one
      JSON file {folder: [class number, ...]}.
    num_classes: of the model.

  Raises:
    UsageError: no path.
    DataError: a file is missing or does not fit the others.
  """
  if not path:
    raise UsageError(
        "ObjectNet needs labels=PATH of the folder mappings/ that it comes "
        "with, or of a JSON file {folder: [ImageNet class, ...]}")
  path = os.path.expanduser(path)
  overlap = _from_mappings(path) if os.path.isdir(path) else read_json(path)
  good = isinstance(overlap, dict) and overlap and all(
      isinstance(one, list) and one and all(isinstance(c, int) for c in one)
      for one in overlap.values())
  if not good:
    raise DataError(f"{path}: {{folder: [ImageNet class, ...]}} was expected")
  most = max(c for one in overlap.values() for c in one)
  if most >= num_classes:
    raise DataError(f"{path}: class {most}, but the model's head has "
                    f"{num_classes} classes")
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


def _padded(sets: Sequence[Sequence[int]]) -> np.ndarray:
  """Returns the sets as rows (g, m), filled up with -1."""
  rows = np.full((len(sets), max(map(len, sets))), -1, np.int32)
  for row, one in zip(rows, sets, strict=True):
    row[:len(one)] = one
  return rows


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


def _without_border(read: Any, index: int) -> Example:
  """Cuts off the frame; DataError if nothing is left."""
  example = read(index)
  try:
    image = decode.decode(example["image"])
  except DataError:
    return example  # The loader counts it and says what is wrong.
  image = image[BORDER:-BORDER, BORDER:-BORDER]
  return example | {"image": image} if image.size else example


def _first_class(
    read: Any, sets: Sequence[Sequence[int]], index: int
) -> Example:
  example = read(index)
  return example | {"label": sets[example["label"]][0]}


def _existing(source: str, data_dir: str) -> str:
  """Returns the absolute path of a folder of pictures."""
  path = os.path.abspath(os.path.join(
      os.path.expanduser(data_dir), os.path.expanduser(source)))
  if not os.path.isdir(path):
    raise UsageError(f"data source {source!r}: there is no folder {path!r}")
  return path

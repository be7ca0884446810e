"""Accuracy where more than one class is right: ImageNet-ReaL, ObjectNet.

A prediction counts as right if it is in the picture's set of classes.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import json
import os
import re
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from vit_jax.data.loader import EvalBatch
from vit_jax.data.sources import Example, Source, make_source
from vit_jax.errors import DataError, UsageError
from vit_jax.evaluators.accuracy import check_classes
from vit_jax.evaluators.passes import Batch, Pass, means
from vit_jax.models.predict import make_predict_fn

# ILSVRC2012_val_00000001.JPEG is the first of the validation pictures.
_NUMBER = re.compile(r"(\d{8})\.\w+$")


class SetAccuracy:
  """Top-1 and top-5 against a set of right classes for each picture."""

  def __init__(
      self,
      *,
      model: nn.Module,
      mesh: Mesh,
      image_size: tuple[int, int],
      shardings: Any = None,
      source: Source,
      rows: Source,
      classes: Sequence[Sequence[int]],
      more: Callable[[jax.Array, Batch], Batch] | None = None,
      preprocess: str = "resize({size})",
      batch_size: int = 512,
      num_threads: int = 16,
      max_broken: int = 0,
      predict: Callable[..., jax.Array] | None = None,
  ) -> None:
    """Takes an open split; nothing is computed yet.

    Args:
      source: the examples with their usual labels, for people.
      rows: the same examples, labelled with their row of `classes`.
      classes: sets of right classes; an example whose set is empty is left
        out and counted.
      more: (logits, batch) -> scores of each example (b,), averaged too.
      model, mesh, image_size, shardings, preprocess, batch_size, num_threads,
        max_broken, predict: see `vit_jax.evaluators.accuracy.Accuracy`.

    Raises:
      DataError: a class that the model does not have.
    """
    self.source = source
    check_classes(source, model.num_classes)
    self._pass = Pass(
        rows, mesh, batch_size,
        dict(preprocess=preprocess, image_size=image_size,
             num_threads=num_threads, max_broken=max_broken),
        functools.partial(_add_sets, classes, model.num_classes))
    self._top5 = model.num_classes > 5
    self._predict = predict or make_predict_fn(model, mesh, shardings)

    @jax.jit
    def sums(logits: jax.Array, batch: Batch) -> Batch:
      mask = batch["mask"]
      scores = set_hits(logits, batch["right"])
      scores |= more(logits, batch) if more else {}
      totals = {k: jnp.sum(mask * v) for k, v in scores.items()}
      return totals | {
          "examples": jnp.sum(mask), "unlabelled": jnp.sum(batch["unlabelled"])}

    self._sums = sums

  def run(self, params: Any) -> dict[str, float]:
    """Returns accuracy, examples (and accuracy_top5, unlabelled, skipped)."""
    totals = self._pass.add_up(
        lambda batch: self._sums(self._predict(params, batch["image"]), batch))
    unlabelled = int(totals.pop("unlabelled"))
    if not self._top5:
      totals = {k: v for k, v in totals.items() if not k.endswith("top5")}
    scores = means(totals, self.source, left_out=unlabelled)
    return scores | ({"unlabelled": unlabelled} if unlabelled else {})


def set_hits(
    logits: Float[Array, "b k"], right: Bool[Array, "b k"]
) -> dict[str, Float[Array, " b"]]:
  """Returns 1 where the best (one of the five best) classes are right."""
  best = jax.lax.top_k(logits, min(5, logits.shape[-1]))[1]
  hits = jnp.take_along_axis(right, best, axis=-1)
  return {"accuracy": hits[:, 0].astype(jnp.float32),
          "accuracy_top5": jnp.any(hits, axis=-1).astype(jnp.float32)}


def _add_sets(
    classes: Sequence[Sequence[int]], num_classes: int, batch: EvalBatch
) -> EvalBatch:
  """Adds "right" (b, k) and masks out the examples without a right class."""
  right = np.zeros((len(batch["label"]), num_classes), bool)
  for row, label in enumerate(batch["label"]):
    right[row, list(classes[label])] = True
  empty = ~right.any(axis=-1)
  mask = batch["mask"]
  return batch | {
      "right": right, "mask": np.where(empty, 0, mask).astype(mask.dtype),
      "unlabelled": np.where(empty, mask, 0).astype(mask.dtype)}


def make_real(
    *, source: str, split: str, data_dir: str, labels: str, **kwargs: Any
) -> SetAccuracy:
  """Returns the evaluator of ImageNet-ReaL (Beyer et al., 2020).

  Args:
    source: ImageNet's validation pictures, as a folder or tfds:imagenet2012,
      under the file names that they were published with: the number in the
      name is the place in `labels`.
    split, data_dir: see `vit_jax.data.sources.make_source`.
    labels: path of real.json as published, a list of classes for each of the
      50,000 pictures. Those with an empty list are left out.
    **kwargs: see SetAccuracy.

  Raises:
    DataError: real.json cannot be read, or a picture's name has no number.
  """
  pictures = make_source(source, split=split, data_dir=data_dir)
  classes = read_real(labels, kwargs["model"].num_classes)
  numbered = dataclasses.replace(
      pictures,
      read=functools.partial(_read_numbered, pictures.read, len(classes)))
  numbered[0]  # A split whose pictures have other names is refused at once.
  return SetAccuracy(
      source=pictures, rows=numbered, classes=classes, **kwargs)


def read_real(path: str, num_classes: int) -> list[list[int]]:
  """Reads real.json: the right classes of each validation picture.

  Raises:
    UsageError: no path.
    DataError: not such a file, or classes that the model does not have.
  """
  if not path:
    raise UsageError(
        "ImageNet-ReaL needs labels=PATH of real.json, as published in "
        "github.com/google-research/reassessed-imagenet")
  classes = read_json(path)
  good = isinstance(classes, list) and classes and all(
      isinstance(one, list) and all(isinstance(c, int) for c in one)
      for one in classes)
  if not good:
    raise DataError(f"{path}: a list of lists of class numbers was expected, "
                    "one list for each picture, as in the published real.json")
  most = max((c for one in classes for c in one), default=0)
  if most >= num_classes:
    raise DataError(f"{path}: class {most}, but the model's head has "
                    f"{num_classes} classes")
  return classes


def read_json(path: str) -> Any:
  """Reads a JSON file; DataError names it."""
  try:
    with open(os.path.expanduser(path), encoding="utf-8") as file:
      return json.load(file)
  except OSError as error:
    raise DataError(f"{path}: cannot be read: {error.strerror}") from None
  except ValueError as error:
    raise DataError(f"{path}: is no JSON file ({error})") from None


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
        "the pictures must be called as published, "
        "ILSVRC2012_val_00000001.JPEG, to be found in real.json")
  return example | {"label": int(match[1]) - 1}


def group_scores(
    logits: Float[Array, "b k"], members: Int[np.ndarray, "g m"]
) -> Float[Array, "b g"]:
  """Returns the greatest logit of each group of classes; -1 is no member."""
  chosen = jnp.take(logits, jnp.maximum(members, 0), axis=-1)
  return jnp.max(jnp.where((members >= 0)[None], chosen, -jnp.inf), axis=-1)

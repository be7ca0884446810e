"""Accuracy where an image has a set of right classes, not a single one.

A prediction counts as right if it is in the image's set. ImageNet-ReaL and
ObjectNet are scored so.
"""

from collections.abc import Callable, Collection, Sequence
import functools
import json
import os
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
import numpy as np

from vit_jax.data.loader import EvalBatch
from vit_jax.data.sources import Source
from vit_jax.errors import DataError
from vit_jax.evaluators.context import EvalContext
from vit_jax.evaluators.passes import Batch, means

ClassSet = Sequence[int]


class SetAccuracy:
  """Top-1 and top-5 against a set of right classes for each image."""

  def __init__(
      self,
      context: EvalContext,
      *,
      source: Source,
      rows: Source,
      classes: Sequence[ClassSet],
      more: Callable[[jax.Array, Batch], Batch] | None = None,
  ) -> None:
    """Takes an open split; nothing is computed yet.

    Args:
      context: its model's head gives the logits.
      source: the examples with their usual labels, for people.
      rows: the same examples, labelled with their row of `classes`.
      classes: sets of right classes; an example whose set is empty is left
        out and counted.
      more: (logits, batch) -> scores of each example (b,), averaged too.

    Raises:
      DataError: a class that the model does not have.
    """
    context.check_classes(source)
    self.source = source
    num_classes = context.model.num_classes
    self._pass = context.make_pass(
        rows, functools.partial(_add_sets, classes, num_classes))
    self._top5 = num_classes > 5
    self.metrics = ("accuracy", *["accuracy_top5"][:self._top5])
    self._predict = context.predict_fn()

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
  """Returns 1 where the best class (one of the five best) is right."""
  best = jax.lax.top_k(logits, min(5, logits.shape[-1]))[1]
  hits = jnp.take_along_axis(right, best, axis=-1)
  return {"accuracy": hits[:, 0].astype(jnp.float32),
          "accuracy_top5": jnp.any(hits, axis=-1).astype(jnp.float32)}


def _add_sets(
    classes: Sequence[ClassSet], num_classes: int, batch: EvalBatch
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


def is_class_set(value: Any) -> bool:
  """Tells whether something read from JSON is a list of class numbers."""
  return isinstance(value, list) and all(isinstance(c, int) for c in value)


def check_class_numbers(
    path: str, sets: Collection[ClassSet], num_classes: int
) -> None:
  """Raises DataError if the file has a class that the model does not have."""
  most = max((c for one in sets for c in one), default=0)
  if most >= num_classes:
    raise DataError(f"{path}: class {most}, but the model's head has "
                    f"{num_classes} classes")


def read_json(path: str) -> Any:
  """Reads a JSON file; DataError names it."""
  try:
    with open(os.path.expanduser(path), encoding="utf-8") as file:
      return json.load(file)
  except OSError as error:
    raise DataError(f"{path}: cannot be read: {error.strerror}") from None
  except ValueError as error:
    raise DataError(f"{path}: is not a JSON file ({error})") from None

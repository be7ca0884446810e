"""Accuracy and mean loss over every example of a split, exactly once.

Sums and counts are added up over padded, masked batches; never a mean of
means. The same on any number of processes and devices.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from vit_jax.data.sources import Source
from vit_jax.evaluators.context import EvalContext
from vit_jax.evaluators.outcomes import Outcomes, make_outcomes, outcome_rows
from vit_jax.evaluators.passes import Batch, means
from vit_jax.objectives.classification import loss_function, smooth_labels


class Accuracy:
  """Top-1 (and top-5 with more than five classes), loss, and the count."""

  def __init__(self, context: EvalContext, source: Source) -> None:
    """Takes an open split; nothing is computed yet.

    Args:
      context: its model's head gives the logits.
      source: the split to score.

    Raises:
      DataError: the split has more classes than the model's head.
      UsageError: the loss is unknown.
    """
    context.check_classes(source)
    self.source = source
    self._pass = context.make_pass(source)
    self._top5 = context.model.num_classes > 5
    self.metrics = ("accuracy", "loss", *["accuracy_top5"][:self._top5])
    self._predict = context.predict_fn()
    self._num_classes = context.model.num_classes
    self._class_names = context.class_names or source.class_names
    per_example = loss_function(context.loss)

    def sums(logits: jax.Array, batch: Batch) -> tuple[Batch, Batch]:
      labels, mask = batch["label"], batch["mask"]
      targets = smooth_labels(labels, logits.shape[-1])
      order = jax.lax.top_k(logits, min(5, logits.shape[-1]))[1]
      hits = order == labels[:, None]
      return {
          "accuracy": jnp.sum(mask * hits[:, 0]),
          "accuracy_top5": jnp.sum(mask * jnp.any(hits, axis=-1)),
          # Where, not times: a padded row may hold anything.
          "loss": jnp.sum(jnp.where(mask > 0, per_example(logits, targets), 0)),
          "examples": jnp.sum(mask),
      }, outcome_rows(logits, batch)

    # Replicated, so that every process has all of it.
    self._sums = jax.jit(
        sums, out_shardings=NamedSharding(context.mesh, PartitionSpec()))

  def run(self, params: Any) -> dict[str, float]:
    """Returns accuracy, loss, examples (and accuracy_top5, skipped).

    Args:
      params: of the model, on the mesh or on the host.
    """
    return self.run_by_example(params)[0]

  def run_by_example(self, params: Any) -> tuple[dict[str, float], Outcomes]:
    """Returns the scores of `run`, and what was said of each example."""
    totals, rows = self._pass.add_up_and_list(
        lambda batch: self._sums(self._predict(params, batch["image"]), batch))
    if not self._top5:
      totals.pop("accuracy_top5")
    return means(totals, self.source), make_outcomes(
        rows, self.source, self._num_classes, self._class_names)


def make(context: EvalContext) -> Accuracy:
  """Returns the evaluator of any labelled data set."""
  return Accuracy(context, context.open_labelled())

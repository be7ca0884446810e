"""Accuracy and mean loss over every example of a split, exactly once.

Sums and counts are added up over padded, masked batches; never a mean of
means. The same on any number of processes and devices.
"""

from typing import Any

import jax
import jax.numpy as jnp

from vit_jax.data.sources import Source
from vit_jax.evaluators.context import EvalContext
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
    per_example = loss_function(context.loss)

    @jax.jit
    def sums(logits: jax.Array, batch: Batch) -> Batch:
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
      }

    self._sums = sums

  def run(self, params: Any) -> dict[str, float]:
    """Returns accuracy, loss, examples (and accuracy_top5, skipped).

    Args:
      params: of the model, on the mesh or on the host.
    """
    totals = self._pass.add_up(
        lambda batch: self._sums(self._predict(params, batch["image"]), batch))
    if not self._top5:
      totals.pop("accuracy_top5")
    return means(totals, self.source)


def make(context: EvalContext) -> Accuracy:
  """Returns the evaluator of any labelled data set."""
  return Accuracy(context, context.open_labelled())

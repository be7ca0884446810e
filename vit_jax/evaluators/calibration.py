"""Calibration: do the probabilities say how often the model is right?

Expected calibration error with 15 bins, as in Guo et al., "On Calibration of
Modern Neural Networks" (2017, section 2): bin m holds the examples in which the
probability of the predicted class (the confidence) is in ((m - 1)/15, m/15],

  ECE = sum over bins of  n_m / n * |accuracy of the bin - its mean confidence|

Probabilities are the softmax of the logits. The sums of every bin are complete
before anything is divided: batch size, mesh and hosts do not change the error.
"""

from typing import Any

import jax
import jax.numpy as jnp

from vit_jax.evaluators.context import EvalContext
from vit_jax.evaluators.passes import Batch, means

BINS = 15


class Calibration:
  """Expected calibration error, negative log-likelihood, and the count."""

  def __init__(self, context: EvalContext) -> None:
    """Opens the split; nothing is computed yet.

    Args:
      context: its model's head gives the logits.

    Raises:
      DataError: the split has other classes than the model.
    """
    self.source = context.open_labelled()
    self.metrics = ("ece", "nll")
    self._pass = context.make_pass(self.source)
    self._predict = context.predict_fn()

    @jax.jit
    def sums(logits: jax.Array, batch: Batch) -> Batch:
      labels, real = batch["label"], batch["mask"] > 0
      log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
      confidence = jnp.exp(jnp.max(log_probabilities, axis=-1))
      gap = (jnp.argmax(logits, axis=-1) == labels) - confidence
      number = jnp.ceil(confidence * BINS).astype(jnp.int32)
      loss = -jnp.take_along_axis(
          log_probabilities, labels[:, None], axis=-1)[:, 0]
      # Where, not times: a padded row may hold anything.
      return {
          f"bin {m}": jnp.sum(jnp.where(real & (number == m), gap, 0))
          for m in range(1, BINS + 1)} | {
              "nll": jnp.sum(jnp.where(real, loss, 0)),
              "examples": jnp.sum(batch["mask"])}

    self._sums = sums

  def run(self, params: Any) -> dict[str, float]:
    """Returns ece, nll (in nats), examples (and skipped).

    Args:
      params: of the model, on the mesh or on the host.
    """
    totals = self._pass.add_up(
        lambda batch: self._sums(self._predict(params, batch["image"]), batch))
    gaps = [totals.pop(f"bin {m}") for m in range(1, BINS + 1)]
    return means({"ece": sum(map(abs, gaps))} | totals, self.source)


make = Calibration

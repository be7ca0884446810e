"""Calibration: do the probabilities say how often the model is right?

The error is that of `vit_jax.evaluators.outcomes.calibration_error`, with
probabilities from the softmax of the logits. Its bins are filled by all
examples before anything is divided: batch size, mesh and hosts do not change
it.
"""

import dataclasses
from typing import Any

from vit_jax.evaluators.accuracy import Accuracy
from vit_jax.evaluators.context import EvalContext


class Calibration:
  """Expected calibration error, negative log-likelihood, and the count."""

  def __init__(self, context: EvalContext) -> None:
    """Opens the split; nothing is computed yet.

    Args:
      context: its model's head gives the logits.

    Raises:
      DataError: the split has other classes than the model.
    """
    # The negative log-likelihood is the softmax loss.
    self._accuracy = Accuracy(
        dataclasses.replace(context, loss="softmax"), context.open_labelled())
    self.source = self._accuracy.source
    self.metrics = ("ece", "nll")

  def run(self, params: Any) -> dict[str, float]:
    """Returns ece, nll (in nats), examples (and skipped).

    Args:
      params: of the model, on the mesh or on the host.
    """
    scores, outcomes = self._accuracy.run_by_example(params)
    counts = {key: scores[key] for key in ("examples", "skipped")
              if key in scores}
    return {"ece": outcomes.scores()["ece"], "nll": scores["loss"]} | counts


make = Calibration

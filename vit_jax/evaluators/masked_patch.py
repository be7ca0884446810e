"""Masked patch prediction on held-out images: loss and accuracy of colours.

The corruption of an image depends on its number in the split alone: the score
is the same for any batch size, mesh and step of the training.
"""

from typing import Any

import jax
import jax.numpy as jnp

from vit_jax.devices.partition import over
from vit_jax.errors import UsageError
from vit_jax.evaluators.context import EvalContext
from vit_jax.evaluators.passes import Batch, means
from vit_jax.models.masked_vit import MaskedPatchTransformer
from vit_jax.objectives.masked_patch import predict_and_score

_SEED = 0


class MaskedPatch:
  """Mean loss and accuracy over the corrupted patches, and the count."""

  def __init__(self, context: EvalContext) -> None:
    """Opens the split; nothing is computed yet. Labels are not used.

    Args:
      context: its model is that of objective.name="masked_patch".

    Raises:
      UsageError: the model predicts no patches.
    """
    model = context.model
    if not isinstance(model, MaskedPatchTransformer):
      raise UsageError(
          "evals.NAME.type='masked_patch' scores a model that predicts "
          "patches, while it trains with objective.name='masked_patch'")
    context.check_no_flip("masked_patch")
    self.source = context.open_source()
    self._pass = context.make_pass(self.source)
    self.metrics = (
        "loss", *["accuracy"][:model.target != "regression"])

    def sums(params: Any, batch: Batch) -> Batch:
      keys = jax.vmap(jax.random.fold_in, (None, 0))(
          jax.random.key(_SEED), batch["index"])
      values = predict_and_score(model, params, batch["image"], keys)
      real = batch["mask"] > 0
      # Where, not times: a padded row may hold anything.
      return {key: jnp.sum(jnp.where(real, value, 0))
              for key, value in values.items()} | {
                  "examples": jnp.sum(batch["mask"])}

    self._sums = jax.jit(over(context.mesh, sums))

  def run(self, params: Any) -> dict[str, float]:
    """Returns loss, examples and, of colours, accuracy (and skipped)."""
    totals = self._pass.add_up(lambda batch: self._sums(params, batch))
    return means(totals, self.source)


make = MaskedPatch

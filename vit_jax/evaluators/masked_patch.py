"""Masked patch prediction on held-out pictures: loss and share of colours.

The corruption of a picture depends on its number in the split alone: the score
is the same for any batch size, mesh and step of the training.
"""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from vit_jax.data.sources import make_source
from vit_jax.devices.sharding import over
from vit_jax.errors import UsageError
from vit_jax.evaluators.passes import Batch, Pass, means
from vit_jax.models.masked_vit import MaskedPatchTransformer
from vit_jax.objectives.masked_patch import predict_and_score

_SEED = 0


class MaskedPatch:
  """Mean loss and accuracy over the corrupted patches, and the count."""

  def __init__(
      self,
      *,
      model: nn.Module,
      mesh: Mesh,
      image_size: tuple[int, int],
      shardings: Any = None,
      source: str,
      data_dir: str = "",
      split: str = "test",
      preprocess: str = "resize({size})",
      batch_size: int = 512,
      num_threads: int = 16,
      max_broken: int = 0,
      predict: Any = None,
  ) -> None:
    """Opens the split; nothing is computed yet.

    Args:
      model: that of objective.name="masked_patch".
      source, data_dir, split: see `vit_jax.data.sources.make_source`; labels
        are not used.
      mesh, image_size, preprocess, batch_size, num_threads, max_broken: see
        `vit_jax.evaluators.accuracy.Accuracy`.
      shardings, predict: of no use here.

    Raises:
      UsageError: the model predicts no patches.
    """
    del shardings, predict
    if not isinstance(model, MaskedPatchTransformer):
      raise UsageError(
          "evals.NAME.type='masked_patch' scores a model that predicts "
          "patches, while it trains with objective.name='masked_patch'")
    self.source = make_source(source, split=split, data_dir=data_dir)
    self._pass = Pass(self.source, mesh, batch_size, dict(
        preprocess=preprocess, image_size=image_size, num_threads=num_threads,
        max_broken=max_broken))

    def sums(params: Any, batch: Batch) -> Batch:
      keys = jax.vmap(jax.random.fold_in, (None, 0))(
          jax.random.key(_SEED), batch["index"])
      values = predict_and_score(model, params, batch["image"], keys)
      real = batch["mask"] > 0
      # Where, not times: a padded row may hold anything.
      return {key: jnp.sum(jnp.where(real, value, 0))
              for key, value in values.items()} | {
                  "examples": jnp.sum(batch["mask"])}

    self._sums = jax.jit(over(mesh, sums))

  def run(self, params: Any) -> dict[str, float]:
    """Returns loss, examples and, of colours, accuracy (and skipped)."""
    totals = self._pass.add_up(lambda batch: self._sums(params, batch))
    return means(totals, self.source)

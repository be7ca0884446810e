"""Accuracy and mean loss over every example of a split, exactly once.

Sums and counts are added up over padded, masked batches; never a mean of
means. The same on any number of processes and devices.
"""

from collections.abc import Callable
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from vit_jax.data.sources import Source, make_source
from vit_jax.errors import DataError
from vit_jax.evaluators.passes import Batch, Pass, means
from vit_jax.models.predict import make_predict_fn
from vit_jax.objectives.classification import loss_function, smooth_labels


class Accuracy:
  """Top-1 (and top-5 with more than five classes), loss, and the count."""

  def __init__(
      self,
      *,
      model: nn.Module,
      mesh: Mesh,
      image_size: tuple[int, int],
      shardings: Any = None,
      source: str | Source,
      data_dir: str = "",
      split: str = "test",
      preprocess: str = "resize({size})",
      batch_size: int = 512,
      loss: str = "softmax",
      num_threads: int = 16,
      max_broken: int = 0,
      predict: Callable[..., jax.Array] | None = None,
  ) -> None:
    """Opens the split; nothing is computed yet.

    Args:
      model: its head gives the logits.
      mesh: over which the batch is split.
      image_size: (height, width) that the model's parameters fit.
      shardings: of the parameters; None keeps them where they are.
      source: see `vit_jax.data.sources.make_source`; or what it returned,
        with data_dir and split of no use then.
      data_dir, split: likewise.
      preprocess: text form of the transforms.
      batch_size: global; any number that the mesh divides.
      loss: "softmax" or "sigmoid".
      num_threads: that decode.
      max_broken: pictures that may be skipped; they are counted.
      predict: (params, images) -> logits, instead of the model's.

    Raises:
      DataError: the split has other classes than the model.
    """
    if isinstance(source, str):
      source = make_source(source, split=split, data_dir=data_dir)
    self.source = source
    check_classes(source, model.num_classes)
    self._pass = Pass(source, mesh, batch_size, dict(
        preprocess=preprocess, image_size=image_size, num_threads=num_threads,
        max_broken=max_broken))
    self._top5 = model.num_classes > 5
    per_example = loss_function(loss)
    self._predict = predict or make_predict_fn(model, mesh, shardings)

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
      params: as the model wants them, on the mesh or on the host.
    """
    totals = self._pass.add_up(
        lambda batch: self._sums(self._predict(params, batch["image"]), batch))
    if not self._top5:
      totals.pop("accuracy_top5")
    return means(totals, self.source)


def check_classes(source: Source, num_classes: int) -> None:
  """Raises DataError if the head has fewer classes than the data set."""
  if source.num_classes > num_classes:
    raise DataError(
        f"{source.name}: {source.num_classes} classes, but the model's head "
        f"has {num_classes}")

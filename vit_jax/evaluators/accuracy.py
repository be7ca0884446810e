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
import numpy as np

from vit_jax.data.loader import eval_batches, prefetch
from vit_jax.data.sources import make_source
from vit_jax.errors import DataError
from vit_jax.objectives.classification import loss_function, smooth_labels
from vit_jax.sharding import process_rows, put_batch
from vit_jax.train_step import make_predict_fn


class Accuracy:
  """Top-1 (and top-5 with more than five classes), loss, and the count."""

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
      source, data_dir, split: see `vit_jax.data.sources.make_source`.
      preprocess: text form of the transforms.
      batch_size: global; any number that the mesh divides.
      loss: "softmax" or "sigmoid".
      num_threads: that decode.
      max_broken: pictures that may be skipped; they are counted.
      predict: (params, images) -> logits, instead of the model's.

    Raises:
      DataError: the split has other classes than the model.
    """
    self.source = make_source(source, split=split, data_dir=data_dir)
    if self.source.num_classes > model.num_classes:
      raise DataError(
          f"{source} {split!r} has {self.source.num_classes} classes, but the "
          f"model's head has {model.num_classes}")
    self._mesh, self._batch_size = mesh, batch_size
    self._rows = process_rows(mesh, batch_size)
    self._loading = dict(
        preprocess=preprocess, image_size=image_size, batch_size=batch_size,
        rows=self._rows, num_threads=num_threads, max_broken=max_broken)
    self._top5 = model.num_classes > 5
    per_example = loss_function(loss)
    predict = predict or make_predict_fn(model, mesh, shardings)

    @jax.jit
    def sums(logits: jax.Array, batch: dict[str, jax.Array]) -> Any:
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

    self._step = lambda params, batch: sums(
        predict(params, batch["image"]), batch)

  def run(self, params: Any) -> dict[str, float]:
    """Returns accuracy, loss, examples (and accuracy_top5, skipped).

    Args:
      params: as the model wants them, on the mesh or on the host.
    """
    batches = prefetch(
        eval_batches(self.source, **self._loading),
        lambda batch: put_batch(batch, self._mesh, self._batch_size))
    parts = []
    try:
      for batch in batches:
        parts.append(self._step(params, batch))
    finally:
      batches.close()
    totals = {
        key: float(np.sum([np.asarray(p[key], np.float64)
                           for p in jax.device_get(parts)]))
        for key in parts[0]}
    count = totals.pop("examples")
    if count == 0:
      raise DataError(
          f"{self.source.name}: no picture could be read, so there is no score")
    if not self._top5:
      totals.pop("accuracy_top5")
    scores = {key: value / count for key, value in totals.items()}
    scores["examples"] = int(count)
    skipped = len(self.source) - int(count)
    if skipped:
      scores["skipped"] = skipped
    return scores

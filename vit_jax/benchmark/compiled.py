"""The benchmark without a TPU, from the estimates of the TPU compiler.

Nothing is timed. A batch fits if the compiler accepts the program; its pace is
that of `vit_jax.aot.estimate`.
"""

from collections.abc import Callable, Iterator, Sequence
import itertools

from ml_collections import ConfigDict

from vit_jax.aot.estimate import Estimate, estimate
from vit_jax.aot.topologies import Topology, devices
from vit_jax.benchmark.options import config_for
from vit_jax.benchmark.record import BatchPoint, ModelCurve
from vit_jax.config import schema
from vit_jax.devices.sharding import make_mesh
from vit_jax.errors import UsageError
from vit_jax.models import cost
from vit_jax.models.variants import make_model

NUM_CLASSES = 1000


def estimate_curves(
    config: ConfigDict, models: Sequence[str], sizes: Sequence[int], *,
    batches: Sequence[int], topology: Topology, what: str = "forward",
    note: Callable[[str], None] = lambda text: None,
) -> Iterator[ModelCurve]:
  """Compiles models at input sizes, each when the iterator reaches it.

  Args:
    config: of a run; its variant, image size and batch size are replaced.
    models: names that `make_model` reads.
    sizes: of the images, in pixels.
    batches: per device; tried in increasing order until one does not fit.
    topology: the slice; the batch is split over its devices.
    what: "forward" (images to logits) or "train" (one update).
    note: called with a line about every batch size, and about every model
      that does not accept an input size and is left out there.

  Raises:
    UsageError: an unknown name or key, or a mesh that does not fit the slice.
    UserError: the TPU compiler is not installed.
  """
  config = schema.resolve(config)
  config.model.num_classes = config.model.num_classes or NUM_CLASSES
  for model in models:
    make_model(**config_for(config, model).model)
  mesh = make_mesh(**config.mesh, devices=devices(topology))
  ways = mesh.shape["data"] * mesh.shape["fsdp"]
  for model, size in itertools.product(models, sizes):
    model_config = config_for(config, model)
    model_config.data.image_size = size
    try:
      yield _curve(
          model_config, model, size, batches, ways, topology, what, note)
    except UsageError as error:
      # The names were checked above, so it is the size; others may work.
      note(f"left out: {model} at {size}: {error}")


def _curve(
    config: ConfigDict, name: str, size: int, batches: Sequence[int],
    ways: int, topology: Topology, what: str, note: Callable[[str], None],
) -> ModelCurve:
  """Compiles one model at one input size, until a batch does not fit."""
  model = make_model(**config.model.to_dict())
  per_mac = cost.TRAIN_FLOPS_PER_MAC if what == "train" else 2
  flops = per_mac * model.macs((size, size))
  points: list[BatchPoint] = []
  exceeded = None
  for batch in sorted(set(batches)):
    config.data.batch_size = batch * ways
    result = estimate(
        config, topology, num_classes=NUM_CLASSES, total=config.train.steps,
        evaluation=what == "forward")
    if not result.fits:
      note(f"{name} at {size}, batch {batch:,}: does not fit")
      exceeded = batch
      break
    points.append(_point(result, batch))
    note(f"{name} at {size}, batch {batch:,}: "
         f"{result.images_per_second_per_device:,.1f} img/s/device")
  return ModelCurve(name, size, flops, tuple(points), exceeded)


def _point(result: Estimate, batch: int) -> BatchPoint:
  pace = result.images_per_second_per_device
  assert pace is not None  # It fits.
  return BatchPoint(batch, pace, pace, pace, 0, result.mfu)

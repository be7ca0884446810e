"""The benchmark without a TPU: what the TPU compiler estimates of one.

Nothing is timed. A batch fits if the compiler accepts the program; its pace is
that of `vit_jax.aot.estimate`.
"""

from collections.abc import Callable, Iterator, Sequence
import itertools

from ml_collections import ConfigDict

from vit_jax.aot.estimate import Estimate, estimate
from vit_jax.aot.topologies import Topology, devices
from vit_jax.benchmark.options import suited
from vit_jax.benchmark.record import Curve, Point
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
) -> Iterator[Curve]:
  """Compiles models at input sizes, each when it is asked for.

  Args:
    config: of a run, but for variant, picture size and batch size.
    models: names that `make_model` reads.
    sizes: of the pictures, in pixels.
    batches: per device, tried from the smallest on until one does not fit.
    topology: the slice; the batch is split over its devices.
    what: "forward" (pictures to logits) or "train" (one update).
    note: told of every batch size, and of every point that is left out.

  Raises:
    UsageError: a name or key is unknown, or the devices do not fit the mesh.
    UserError: there is no TPU compiler.
  """
  config = schema.resolve(config)
  config.model.num_classes = config.model.num_classes or NUM_CLASSES
  for model in models:
    make_model(**suited(config, model).model)
  mesh = make_mesh(**config.mesh, devices=devices(topology))
  ways = mesh.shape["data"] * mesh.shape["fsdp"]
  for model, size in itertools.product(models, sizes):
    one = suited(config, model)
    one.data.image_size = size
    try:
      yield _curve(one, model, size, batches, ways, topology, what, note)
    except UsageError as error:
      # The names are right, so that it is this size: others may do.
      note(f"left out: {model} at {size}: {error}")


def _curve(
    config: ConfigDict, name: str, size: int, batches: Sequence[int],
    ways: int, topology: Topology, what: str, note: Callable[[str], None],
) -> Curve:
  """Compiles one model at one input size, until a batch does not fit."""
  model = make_model(**config.model.to_dict())
  per_mac = cost.TRAIN_FLOPS_PER_MAC if what == "train" else 2
  points: list[Point] = []
  exceeded = None
  for batch in sorted(set(batches)):
    config.data.batch_size = batch * ways
    found = estimate(
        config, topology, num_classes=NUM_CLASSES, total=config.train.steps,
        evaluation=what == "forward")
    if not found.fits:
      note(f"{name} at {size}, batch {batch:,}: does not fit")
      exceeded = batch
      break
    points.append(_point(found, batch))
    note(f"{name} at {size}, batch {batch:,}: "
         f"{found.images_per_second_per_device:,.1f} img/s/device")
  return Curve(name, size, per_mac * cost.forward_macs(model, (size, size)),
               tuple(points), exceeded)


def _point(found: Estimate, batch: int) -> Point:
  pace = found.images_per_second_per_device
  assert pace is not None  # It fits.
  return Point(batch, pace, pace, pace, 0, found.mfu)

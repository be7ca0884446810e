"""How the cost of an update grows with batch, tokens and depth.

The work of a network is known by formula (paper, section 3.1: linear in batch
and depth, in the tokens linear plus quadratic), and so is what automatic
differentiation keeps for the backward pass. What a machine makes of it is
measured, or estimated by the TPU compiler, and both are fitted as powers.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import math
import statistics
from typing import Any

import jax
from ml_collections import ConfigDict

from vit_jax.aot import estimate as aot
from vit_jax.aot.topologies import Topology
from vit_jax.benchmark.timed import make_batch, time_step
from vit_jax.config import schema
from vit_jax.devices.sharding import make_mesh
from vit_jax.models import cost
from vit_jax.training.memory import outline
from vit_jax.training.program import Program, make_program
from vit_jax.training.state import create_state

NUM_CLASSES = 1000
PATCH = 16
# Values of each axis, while the others are as in BASE. 112 to 768 pixels are 50
# to 2,305 tokens.
AXES = {"batch": (1, 2, 4, 8, 16, 32, 64),
        "tokens": (50, 101, 197, 401, 577, 1025, 2305),
        "depth": (1, 2, 4, 8, 16, 32, 48)}
BASE = {"batch": 4, "tokens": 197, "depth": 12}
# What is fitted, and the formula that predicts it.
FITTED = {"seconds": "flops", "bytes": "kept_bytes",
          "tpu_seconds": "flops", "tpu_bytes": "kept_bytes"}


@dataclasses.dataclass(frozen=True)
class Growth:
  """An update at one size.

  Attributes:
    axis, value: a key of AXES, and where on it.
    flops: by formula, 6 per multiply-add.
    kept_bytes: of activations for the backward pass, by differentiation; an
      upper bound.
    seconds: median on this machine's first device.
    bytes: that XLA plans there, beside arguments and results.
    tpu_seconds, tpu_bytes: the same by the TPU compiler's estimate, None where
      no slice was named or where it does not fit.
  """

  axis: str
  value: int
  flops: float
  kept_bytes: float
  seconds: float
  bytes: float
  tpu_seconds: float | None = None
  tpu_bytes: float | None = None


def measure(
    variant: str, topology: Topology | None, *, seconds: float,
    axes: dict[str, Sequence[int]] | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Iterator[Growth]:
  """Yields one point after another, of each axis from small to large.

  Args:
    variant: of a ViT with patches of 16x16 pixels, such as "Ti/16".
    topology: the slice of one device to estimate for, if any.
    seconds: about how long each size is timed.
    axes: other values than those of AXES.
    note: called with a line about every point.
  """
  for axis, values in (axes or AXES).items():
    for value in values:
      found = _point(variant, axis, value, seconds, topology)
      note(f"{axis} {value:,}: {found.seconds:.3f} s, "
           f"{found.bytes / 2**20:,.0f} MiB")
      yield found


def config_of(variant: str, size: dict[str, int]) -> ConfigDict:
  """Returns the config of an update: float32, SGD, blocks in a loop."""
  side = PATCH * math.isqrt(size["tokens"] - 1)
  return schema.resolve(schema.changed({
      "model.variant": variant, "model.num_classes": NUM_CLASSES,
      "model.depth": size["depth"], "model.scan": True,
      "model.dtype": "float32", "data.image_size": side,
      "data.batch_size": size["batch"], "optim.name": "sgd",
      "train.steps": 1_000_000}))


def exponent(points: Sequence[Growth], quantity: str) -> tuple[float, float]:
  """Returns the power of growth and its standard error, by least squares.

  Args:
    points: of one axis, three at least.
    quantity: an attribute of `Growth`.
  """
  xs = [math.log(point.value) for point in points]
  ys = [math.log(getattr(point, quantity)) for point in points]
  slope, start = statistics.linear_regression(xs, ys)
  left = sum((y - start - slope * x) ** 2 for x, y in zip(xs, ys, strict=True))
  spread = sum((x - statistics.fmean(xs)) ** 2 for x in xs)
  return slope, math.sqrt(left / max(1, len(xs) - 2) / spread)


def exponents(points: Sequence[Growth]) -> list[dict[str, Any]]:
  """Returns for each axis and quantity the fitted and the predicted power."""
  rows = []
  for axis in dict.fromkeys(point.axis for point in points):
    for quantity, formula in FITTED.items():
      found = [point for point in points if point.axis == axis
               and getattr(point, quantity) is not None]
      if len(found) < 3:
        continue
      slope, error = exponent(found, quantity)
      rows.append({"axis": axis, "quantity": quantity, "fitted": slope,
                   "standard_error": error,
                   "predicted": exponent(found, formula)[0]})
  return rows


def _point(
    variant: str, axis: str, value: int, seconds: float,
    topology: Topology | None,
) -> Growth:
  config = config_of(variant, BASE | {axis: value})
  program = make_program(
      config, make_mesh(**config.mesh, devices=jax.local_devices()[:1]),
      num_classes=NUM_CLASSES, total=config.train.steps)
  batch, size = config.data.batch_size, schema.image_size(config)
  tpu_seconds = tpu_bytes = None
  if topology is not None:
    found = aot.estimate(
        config, topology, num_classes=NUM_CLASSES, total=config.train.steps)
    if found.fits:
      tpu_seconds, tpu_bytes = (
          found.estimated_step_seconds, found.temporary_bytes)
  timed, planned = _timed(program, batch, size[0], seconds)
  return Growth(
      axis, value, batch * cost.train_flops(program.model, size),
      batch * outline(config, NUM_CLASSES).activation_bytes, timed, planned,
      tpu_seconds, tpu_bytes)


def _timed(
    program: Program, batch: int, size: int, seconds: float
) -> tuple[float, float]:
  """Returns the median time of an update, and the bytes that XLA plans."""
  state = create_state(program.make, program.abstract)
  images = make_batch(program.mesh, batch, size)
  compiled = program.train_step.lower(state, images).compile()
  memory = compiled.memory_analysis()

  def step() -> Any:  # noqa: ANN401
    nonlocal state
    state, metrics = compiled(state, images)
    return metrics

  windows, _ = time_step(step, steps=5, seconds=seconds)
  return statistics.median(windows), float(memory.temp_size_in_bytes)

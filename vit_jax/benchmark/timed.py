"""Pace and memory over models and input sizes (paper, appendix D.5, Figure 12).

For every model at every input size the batch grows until the device's memory
is full. Pictures are made on the devices and programs compiled before the
clock starts; what is timed are the functions that evaluation and training run.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import gc
import itertools
import math
import re
import statistics
import time
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Int, UInt8
from ml_collections import ConfigDict

from vit_jax.benchmark.options import suited
from vit_jax.benchmark.record import Curve, Point
from vit_jax.config import schema
from vit_jax.devices.sharding import batch_sharding, make_mesh
from vit_jax.errors import UsageError, suggest
from vit_jax.models import cost
from vit_jax.models.predict import make_predict_fn
from vit_jax.models.variants import make_model
from vit_jax.training.program import Program, make_program
from vit_jax.training.state import create_state

NUM_CLASSES = 1000
WINDOWS = 5
# A window holds the result of each of its steps.
MOST_STEPS = 1000
Step = Callable[[], Any]
# A CPU calls it INTERNAL, with "Out of memory" in the message.
_OUT_OF_MEMORY = re.compile("RESOURCE_EXHAUSTED|(?i:out of memory)")


def measure(
    config: ConfigDict, models: Sequence[str], sizes: Sequence[int], *,
    batches: Sequence[int], what: str = "forward", steps: int = 10,
    seconds: float = 2.0, note: Callable[[str], None] = lambda text: None,
) -> Iterator[Curve]:
  """Measures models at input sizes, each when it is asked for.

  Args:
    config: of a run, but for variant, picture size and batch size.
    models: names that `make_model` reads.
    sizes: of the pictures, in pixels.
    batches: per device, tried from the smallest on until one does not fit.
    what: "forward" (pictures to logits) or "train" (one update).
    steps, seconds: for every batch size, at least so many are timed, and for
      about so long.
    note: told of every batch size, and of every point that is left out.

  Raises:
    UsageError: a name or key is unknown, or the devices do not fit the mesh.
  """
  if what not in WHAT:
    raise UsageError(f"--what={what!r} is unknown{suggest(what, WHAT)}; it "
                     f"is one of {', '.join(WHAT)}")
  config = schema.resolve(config)
  config.model.num_classes = config.model.num_classes or NUM_CLASSES
  for model in models:
    make_model(**suited(config, model).model)
  mesh = make_mesh(**config.mesh)
  config.data.batch_size = mesh.shape["data"] * mesh.shape["fsdp"]
  effort = dict(steps=steps, seconds=seconds)

  def curves() -> Iterator[Curve]:
    for model, size in itertools.product(models, sizes):
      one = suited(config, model)
      one.data.image_size = size
      try:
        program = make_program(one, mesh, num_classes=NUM_CLASSES,
                               total=one.train.steps)
      except UsageError as error:
        # The names are right, so that it is this size: others may do.
        note(f"left out: {model} at {size}: {error}")
        continue
      yield _curve(program, model, size, what, batches, effort, note)
      del program
      gc.collect()  # What it held must be gone before the next one is tried.

  return curves()


def grow(
    batches: Sequence[int], timed: Callable[[int], Any]
) -> tuple[dict[int, Any], int | None]:
  """Calls `timed` with growing batches until the memory is full.

  Returns:
    The results by batch, and the batch that did not fit, None if all did.
  """
  found = {}
  for batch in sorted(set(batches)):
    try:
      found[batch] = timed(batch)
    except RuntimeError as error:
      if not _OUT_OF_MEMORY.search(str(error)):
        raise
      return found, batch
  return found, None


def time_step(
    step: Step, *, steps: int, seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[float], int]:
  """Times a function that starts a step and returns its results to be.

  Args:
    step: is waited for at the end of a window only.
    steps, seconds: see `measure`.
    clock: in seconds.

  Returns:
    Seconds a step in each of WINDOWS windows, and the steps in a window.
  """
  jax.block_until_ready(step())
  start = clock()
  jax.block_until_ready(step())
  once = max(clock() - start, 1e-9)
  wanted = min(seconds / WINDOWS / once, MOST_STEPS)
  count = max(1, math.ceil(steps / WINDOWS), math.ceil(wanted))
  windows = []
  for _ in range(WINDOWS):
    start = clock()
    # All of them: a CPU may finish independent steps in another order.
    jax.block_until_ready([step() for _ in range(count)])
    windows.append((clock() - start) / count)
  return windows, count


def make_batch(
    mesh: Mesh, count: int, image_size: int
) -> dict[str, UInt8[Array, "b h w c"] | Int[Array, " b"]]:
  """Returns `count` pictures of noise with labels, made on the devices."""

  def make() -> dict[str, jax.Array]:
    shape = (count, image_size, image_size, cost.CHANNELS)
    # A hash of the place: random bits would take memory that counts here.
    place = sum(
        lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(factor)
        for axis, factor in enumerate((2654435761, 40503, 2246822519, 97)))
    place = (place ^ (place >> 15)) * jnp.uint32(3266489917)
    return {"image": (place >> 24).astype(jnp.uint8),
            "label": jnp.zeros((count,), jnp.int32)}

  return jax.jit(make, out_shardings=batch_sharding(mesh))()


def _forward(program: Program) -> Callable[[dict[str, jax.Array]], Step]:
  """Returns what compiles an evaluation's forward pass for a batch."""
  shardings = program.shardings.params
  # Not the whole state: a forward pass keeps no optimiser.
  params = jax.jit(lambda: program.make().params, out_shardings=shardings)()
  predict = make_predict_fn(program.model, program.mesh, shardings)

  def prepare(batch: dict[str, jax.Array]) -> Step:
    compiled = predict.lower(params, batch["image"]).compile()
    return lambda: compiled(params, batch["image"])

  return prepare


def _train(program: Program) -> Callable[[dict[str, jax.Array]], Step]:
  """Returns what compiles an update for a batch."""
  state = create_state(program.make, program.abstract)

  def prepare(batch: dict[str, jax.Array]) -> Step:
    compiled = program.train_step.lower(state, batch).compile()

    def step() -> dict[str, jax.Array]:
      nonlocal state  # Each update takes over the memory of the one before.
      state, metrics = compiled(state, batch)
      return metrics

    return step

  return prepare


# By name: what compiles it, and its FLOPs a multiply-add.
WHAT = {"forward": (_forward, 2), "train": (_train, cost.TRAIN_FLOPS_PER_MAC)}


def _curve(
    program: Program, name: str, size: int, what: str, batches: Sequence[int],
    effort: Mapping[str, Any], note: Callable[[str], None],
) -> Curve:
  """Measures one model at one input size."""
  mesh, (start, per_mac) = program.mesh, WHAT[what]
  flops = per_mac * cost.forward_macs(program.model, (size, size))
  prepare = None

  def timed(batch: int) -> Point:
    nonlocal prepare
    prepare = prepare or start(program)
    count = batch * mesh.shape["data"] * mesh.shape["fsdp"]
    windows, steps = time_step(
        prepare(make_batch(mesh, count, size)), **effort)
    paces = [count / mesh.size / seconds for seconds in windows]
    pace = statistics.median(paces)
    note(f"{name} at {size}, batch {batch:,}: {pace:,.1f} img/s/device")
    return Point(batch, pace, min(paces), max(paces), steps * WINDOWS,
                 cost.mfu(pace, flops, mesh.devices.flat[0].device_kind))

  found, exceeded = grow(batches, timed)
  if exceeded is not None:
    note(f"{name} at {size}, batch {exceeded:,}: out of memory")
  return Curve(name, size, flops, tuple(found.values()), exceeded)

"""Pace and memory over models and input sizes (paper, appendix D.5, Figure 12).

For every model at every input size the batch grows until the device's memory
is full. Images are generated on the devices and programs compiled before the
clock starts; the functions that are timed are those of evaluation and training.
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

from vit_jax.benchmark.options import config_for
from vit_jax.benchmark.record import BatchPoint, ModelCurve
from vit_jax.config import schema
from vit_jax.devices.sharding import batch_sharding, make_mesh
from vit_jax.errors import UsageError, suggest
from vit_jax.models import cost
from vit_jax.models.network import CHANNELS
from vit_jax.models.predict import make_predict_fn
from vit_jax.models.variants import make_model
from vit_jax.training.program import Program, make_program
from vit_jax.training.state import create_state

NUM_CLASSES = 1000
WINDOWS = 5
# Of a window, which keeps the results of all its steps.
MOST_STEPS = 1000
Step = Callable[[], Any]
# On a CPU the error is INTERNAL, with "Out of memory" in its message.
_OUT_OF_MEMORY = re.compile("RESOURCE_EXHAUSTED|(?i:out of memory)")


def measure(
    config: ConfigDict, models: Sequence[str], sizes: Sequence[int], *,
    batches: Sequence[int], what: str = "forward", steps: int = 10,
    seconds: float = 2.0, note: Callable[[str], None] = lambda text: None,
) -> Iterator[ModelCurve]:
  """Measures models at input sizes, each when the iterator reaches it.

  Args:
    config: of a run; its variant, image size and batch size are replaced.
    models: names that `make_model` reads.
    sizes: of the images, in pixels.
    batches: per device; tried in increasing order until one does not fit.
    what: "forward" (images to logits) or "train" (one update).
    steps, seconds: every batch size is timed for at least so many steps, and
      for about so long.
    note: called with a line about every batch size, and about every model
      that does not accept an input size and is left out there.

  Raises:
    UsageError: an unknown name or key, or a mesh that does not fit the devices.
  """
  if what not in WHAT:
    raise UsageError(f"--what={what!r} is unknown{suggest(what, WHAT)}; it "
                     f"is one of {', '.join(WHAT)}")
  config = schema.resolve(config)
  config.model.num_classes = config.model.num_classes or NUM_CLASSES
  for model in models:
    make_model(**config_for(config, model).model)
  mesh = make_mesh(**config.mesh)
  config.data.batch_size = mesh.shape["data"] * mesh.shape["fsdp"]
  effort = dict(steps=steps, seconds=seconds)

  def curves() -> Iterator[ModelCurve]:
    for model, size in itertools.product(models, sizes):
      model_config = config_for(config, model)
      model_config.data.image_size = size
      try:
        program = make_program(
            model_config, mesh, num_classes=NUM_CLASSES,
            total=model_config.train.steps)
      except UsageError as error:
        # The names were checked above, so it is the size; others may work.
        note(f"left out: {model} at {size}: {error}")
        continue
      yield _curve(program, model, size, what, batches, effort, note)
      del program
      gc.collect()  # Its memory must be free before the next one is tried.

  return curves()


def grow(
    batches: Sequence[int], timed: Callable[[int], Any]
) -> tuple[dict[int, Any], int | None]:
  """Calls `timed` with growing batches until the memory is full.

  Returns:
    The results by batch, and the batch that did not fit, None if all did.
  """
  results = {}
  for batch in sorted(set(batches)):
    try:
      results[batch] = timed(batch)
    except RuntimeError as error:
      if not _OUT_OF_MEMORY.search(str(error)):
        raise
      return results, batch
  return results, None


def time_step(
    step: Step, *, steps: int, seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[float], int]:
  """Times a function that starts a step and returns its (future) results.

  Args:
    step: called back to back; only the end of a window waits for the results.
    steps, seconds: see `measure`.
    clock: in seconds.

  Returns:
    Seconds per step in each of WINDOWS windows, and the steps in a window.
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
    # All of them: a CPU may finish independent steps out of order.
    jax.block_until_ready([step() for _ in range(count)])
    windows.append((clock() - start) / count)
  return windows, count


def make_batch(
    mesh: Mesh, count: int, image_size: int
) -> dict[str, UInt8[Array, "b h w c"] | Int[Array, " b"]]:
  """Returns `count` images of noise with labels, generated on the devices."""

  def make() -> dict[str, jax.Array]:
    shape = (count, image_size, image_size, CHANNELS)
    # A hash of each position: random bits would take memory that counts here.
    position = sum(
        lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(factor)
        for axis, factor in enumerate((2654435761, 40503, 2246822519, 97)))
    noise = (position ^ (position >> 15)) * jnp.uint32(3266489917)
    return {"image": (noise >> 24).astype(jnp.uint8),
            "label": jnp.zeros((count,), jnp.int32)}

  return jax.jit(make, out_shardings=batch_sharding(mesh))()


def _forward(program: Program) -> Callable[[dict[str, jax.Array]], Step]:
  """Returns a function that compiles the forward pass for a batch."""
  shardings = program.shardings.params
  # Not the whole state: a forward pass needs no optimiser state.
  params = jax.jit(lambda: program.make().params, out_shardings=shardings)()
  predict = make_predict_fn(program.model, program.mesh, shardings)

  def prepare(batch: dict[str, jax.Array]) -> Step:
    compiled = predict.lower(params, batch["image"]).compile()
    return lambda: compiled(params, batch["image"])

  return prepare


def _train(program: Program) -> Callable[[dict[str, jax.Array]], Step]:
  """Returns a function that compiles an update for a batch."""
  state = create_state(program.make, program.abstract)

  def prepare(batch: dict[str, jax.Array]) -> Step:
    compiled = program.train_step.lower(state, batch).compile()

    def step() -> dict[str, jax.Array]:
      nonlocal state  # Each update reuses the memory of the previous state.
      state, metrics = compiled(state, batch)
      return metrics

    return step

  return prepare


# Name -> its function above, and FLOPs per multiply-add.
WHAT = {"forward": (_forward, 2), "train": (_train, cost.TRAIN_FLOPS_PER_MAC)}


def step_of(program: Program, what: str, batch: int, size: int) -> Step:
  """Returns a compiled step on generated images; see `measure`.

  Args:
    program: on its mesh.
    what: a key of WHAT.
    batch: images in all.
    size: side of an image in pixels.
  """
  return WHAT[what][0](program)(make_batch(program.mesh, batch, size))


def _curve(
    program: Program, name: str, size: int, what: str, batches: Sequence[int],
    effort: Mapping[str, Any], note: Callable[[str], None],
) -> ModelCurve:
  """Measures one model at one input size."""
  mesh, (make_prepare, per_mac) = program.mesh, WHAT[what]
  flops = per_mac * program.model.macs((size, size))
  prepare = None

  def timed(batch: int) -> BatchPoint:
    nonlocal prepare
    prepare = prepare or make_prepare(program)
    count = batch * mesh.shape["data"] * mesh.shape["fsdp"]
    # Images that do not fit are noticed here: XLA may crash on their shapes.
    images = jax.block_until_ready(make_batch(mesh, count, size))
    windows, steps = time_step(prepare(images), **effort)
    paces = [count / mesh.size / seconds for seconds in windows]
    pace = statistics.median(paces)
    note(f"{name} at {size}, batch {batch:,}: {pace:,.1f} img/s/device")
    return BatchPoint(batch, pace, min(paces), max(paces), steps * WINDOWS,
                 cost.mfu(pace, flops, mesh.devices.flat[0].device_kind))

  points, exceeded = grow(batches, timed)
  if exceeded is not None:
    note(f"{name} at {size}, batch {exceeded:,}: out of memory")
  return ModelCurve(name, size, flops, tuple(points.values()), exceeded)

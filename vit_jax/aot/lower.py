"""Compiles a config's own train step for a slice, on any machine."""

from collections.abc import Mapping
import dataclasses
import math
import re
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from vit_jax.aot import topologies
from vit_jax.aot.schedule import clear, read_schedule
from vit_jax.aot.topologies import Topology
from vit_jax.config import schema
from vit_jax.devices.sharding import batch_sharding, make_mesh
from vit_jax.models.predict import make_predict_fn
from vit_jax.training.program import Program, make_program

# The two forms in which libtpu states the memory that a program would need.
_REQUIRED = re.compile(
    r"(?:Used |required for [^(]*\()([\d.]+)([KMGT]?)"
    r"(?: of [\d.]+[KMGT]? hbm|\) exceeds)")
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


@dataclasses.dataclass(frozen=True)
class Attempt:
  """The result of compiling one program; bytes are those of one device.

  Attributes:
    program: of the config: model, mesh and shapes of the state.
    batch_size: images per step, on all devices.
    compile_seconds: for tracing and compiling, on this machine.
    required_bytes: memory that the program would need, where it does not fit;
      None where it does.
    argument_bytes, temporary_bytes, output_bytes: of the compiled program, 0
      where it does not fit; outputs that reuse an argument's memory are not
      counted.
    text: the compiled program, "" where it does not fit.
    cycles: operation -> cycles of one run in the final schedule; None where
      no schedule was asked for.
  """

  program: Program
  batch_size: int
  compile_seconds: float
  required_bytes: int | None = None
  argument_bytes: int = 0
  temporary_bytes: int = 0
  output_bytes: int = 0
  text: str = ""
  cycles: Mapping[str, int] | None = None


def program_for(
    config: ConfigDict, devices: list[Any], *, num_classes: int, total: int
) -> tuple[ConfigDict, Program]:
  """Returns the config as resolved on a TPU, and its program there."""
  config = schema.resolve(config)
  if config.model.dtype == "auto":
    config.model.dtype = "bfloat16"  # What "auto" means on a TPU.
  mesh = make_mesh(**config.mesh, devices=devices)
  return config, make_program(
      config, mesh, num_classes=num_classes, total=total)


def compile_step(
    config: ConfigDict, topology: Topology, *, num_classes: int, total: int,
    evaluation: bool = False, schedule: str | None = None,
) -> Attempt:
  """Compiles the train step, or the forward pass of an evaluation.

  Args:
    config: of a run.
    topology: where it would run.
    num_classes: of the data, where the config leaves it open.
    total: updates of the whole run.
    evaluation: compile the forward pass with the same batch instead.
    schedule: folder that `topologies.set_up_libtpu` was given, to read the
      final schedule from; it is emptied.

  Raises:
    UsageError: the config is inconsistent, or does not fit the slice.
    UserError: the TPU compiler is not installed, or does not know the slice.
  """
  devices = topologies.devices(topology)
  config, program = program_for(
      config, devices, num_classes=num_classes, total=total)
  batch_size = config.data.batch_size
  batch = abstract_batch(config, program.mesh)
  if schedule is not None:
    clear(schedule)
  start = time.perf_counter()
  if evaluation:
    predict = make_predict_fn(
        program.model, program.mesh, program.shardings.params)
    lowered = predict.lower(program.abstract.params, batch["image"])
  else:
    lowered = program.train_step.lower(program.abstract, batch)
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    required = out_of_memory(str(error))
    if required is None:
      raise
    return Attempt(program, batch_size, time.perf_counter() - start, required)
  seconds = time.perf_counter() - start
  memory, text = compiled.memory_analysis(), compiled.as_text()
  assert memory and text  # The TPU compiler provides both.
  return Attempt(
      program, batch_size, seconds,
      argument_bytes=memory.argument_size_in_bytes,
      temporary_bytes=memory.temp_size_in_bytes,
      output_bytes=memory.output_size_in_bytes - memory.alias_size_in_bytes,
      text=text,
      cycles=None if schedule is None else read_schedule(schedule))


def abstract_batch(
    config: ConfigDict, mesh: Mesh
) -> Mapping[str, jax.ShapeDtypeStruct]:
  """Returns shapes (b h w 3, b), dtypes and shardings of a training batch."""
  sharding, size = batch_sharding(mesh), schema.image_size(config)
  count = config.data.batch_size
  return {
      "image": jax.ShapeDtypeStruct(
          (count, *size, 3), jnp.uint8, sharding=sharding),
      "label": jax.ShapeDtypeStruct((count,), jnp.int32, sharding=sharding)}


def device_bytes(tree: Any) -> int:
  """Returns the bytes that one device holds of an abstract, sharded tree."""
  return sum(
      math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
      for x in jax.tree.leaves(tree))


def out_of_memory(message: str) -> int | None:
  """Returns the bytes that a program would need, by the compiler's message.

  None for any other error; 0 where the message does not state the bytes.
  """
  if "RESOURCE_EXHAUSTED" not in message:
    return None
  match = _REQUIRED.search(message)
  return int(float(match[1]) * 1024 ** _UNITS[match[2]]) if match else 0

"""From a compiled program to memory, seconds per step and days per run.

Nothing here was timed. The time of a step is the compiler's cycles for its
operations divided by the clock, plus the time in which the links carry what
the collectives send, as if the two never overlapped. Where the compiler does
not estimate the cycles of some operations (7x), it is the roofline, a lower
bound.
"""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from vit_jax.aot import hlo
from vit_jax.aot.lower import Attempt, compile_step, device_bytes
from vit_jax.aot.topologies import Topology
from vit_jax.config import schema
from vit_jax.models.cost import train_flops

# Table 2 of the paper: steps of pre-training with 4,096 images each (90 epochs
# of ImageNet-21k, 14 of JFT-300M), and the TPUv3-core-days that they took.
PAPER_CORE_DAYS = {
    ("L/16", "tfds:imagenet21k"): (310_823, 230),
    ("L/16", "tfds:jft300m"): (1_035_645, 680),
    ("H/14", "tfds:jft300m"): (1_035_645, 2500),
}
_DAY = 24 * 60 * 60


@dataclasses.dataclass(frozen=True)
class Estimate:
  """The compiler's estimate of one step; bytes and seconds are per device.

  Attributes:
    topology: name of the slice; libtpu_topology: its shape.
    devices, chips, cores: in all slices; the paper counts cores.
    mesh: size of each axis.
    batch_size: on all devices; accumulate: micro-batches that it consists of.
    fits: whether the program fits into the memory.
    hbm_bytes: memory of a device.
    parameter_bytes, optimizer_bytes (including the average of the parameters,
      if kept): what one device holds between steps.
    argument_bytes: state and batch.
    temporary_bytes: activations, gradients and everything else in a step.
    peak_bytes: the sum; what the program would need where it does not fit.
    exceeded_bytes: how much memory is missing, 0 where it fits.
    flops_per_image: by formula, not counting recomputation.
    loops: estimated cycles with loop bodies counted as often as they run,
      divided by those with bodies counted once; 1 without loops (no scan, no
      accumulation).
    compiler_flops_per_image: XLA's count of the program. XLA counts the body
      of a loop once; with loops this is its count times `loops`, and rough.
    bytes_accessed: to and from memory, likewise.
    collectives: kind -> count and wire_bytes; largest: the largest few.
    wire_bytes: sent to other devices on a ring.
    estimated_cycles: the compiler's own, summed; unknown_operations: those
      for which it has no estimate.
    compute_seconds, memory_seconds, network_seconds: the parts of the
      roofline, each at its peak; roofline_seconds: the largest of them.
    estimated_step_seconds: see the module.
    images_per_second, images_per_second_per_device, mfu: at that pace.
    steps, days, core_days: of the whole run at that pace, without input,
      evaluation and saving.
    paper_core_days: Table 2's for the same run on TPUv3; None for others.
    compile_seconds: on this machine.
  """

  topology: str
  libtpu_topology: str
  devices: int
  chips: int
  cores: int
  mesh: dict[str, int]
  batch_size: int
  accumulate: int
  fits: bool
  hbm_bytes: int
  parameter_bytes: int
  optimizer_bytes: int
  argument_bytes: int
  temporary_bytes: int
  peak_bytes: int
  exceeded_bytes: int
  flops_per_image: int
  loops: float | None = None
  compiler_flops_per_image: float | None = None
  bytes_accessed: float | None = None
  collectives: dict[str, dict[str, float]] = dataclasses.field(
      default_factory=dict)
  largest: tuple[dict[str, Any], ...] = ()
  wire_bytes: float | None = None
  estimated_cycles: int | None = None
  unknown_operations: int = 0
  compute_seconds: float | None = None
  memory_seconds: float | None = None
  network_seconds: float | None = None
  roofline_seconds: float | None = None
  estimated_step_seconds: float | None = None
  images_per_second: float | None = None
  images_per_second_per_device: float | None = None
  mfu: float | None = None
  steps: int | None = None
  days: float | None = None
  core_days: float | None = None
  paper_core_days: float | None = None
  compile_seconds: float = 0.0


def estimate(
    config: ConfigDict, topology: Topology, *, num_classes: int, total: int,
    evaluation: bool = False,
) -> Estimate:
  """Compiles a config for a slice and estimates what it would cost.

  Args:
    config, topology, num_classes, total, evaluation: see
      `vit_jax.aot.lower.compile_step`.

  Raises:
    UsageError, UserError: as there.
  """
  attempt = compile_step(
      config, topology, num_classes=num_classes, total=total,
      evaluation=evaluation)
  fields = _memory(config, topology, attempt, evaluation)
  if not fields["fits"]:
    return Estimate(**fields)
  fields |= _time(topology, attempt, fields["flops_per_image"])
  if not evaluation:
    days = total * fields["estimated_step_seconds"] / _DAY
    fields |= dict(steps=total, days=days, core_days=days * topology.cores,
                   paper_core_days=paper_core_days(config, total))
  return Estimate(**fields)


def _memory(
    config: ConfigDict, topology: Topology, attempt: Attempt, evaluation: bool
) -> dict[str, Any]:
  """Returns the fields of an Estimate whether the program fits or not."""
  state, size = attempt.program.abstract, schema.image_size(config)
  model, hbm = attempt.program.model, topology.hbm_bytes
  if attempt.required_bytes is None:
    fits, peak = True, (attempt.argument_bytes + attempt.temporary_bytes
                        + attempt.output_bytes)
  else:
    fits, peak = False, attempt.required_bytes
  return dict(
      topology=topology.name, libtpu_topology=topology.libtpu_name,
      devices=topology.device_count, chips=topology.chips,
      cores=topology.cores, mesh=dict(attempt.program.mesh.shape),
      batch_size=attempt.batch_size,
      accumulate=1 if evaluation else config.train.accumulate,
      fits=fits, hbm_bytes=hbm,
      parameter_bytes=device_bytes(state.params),
      optimizer_bytes=0 if evaluation else device_bytes(
          (state.opt_state, state.ema)),
      argument_bytes=attempt.argument_bytes,
      temporary_bytes=attempt.temporary_bytes, peak_bytes=peak,
      exceeded_bytes=0 if fits else max(0, peak - hbm),
      flops_per_image=2 * model.macs(size) if evaluation
      else train_flops(model, size),
      compile_seconds=attempt.compile_seconds)


def _time(
    topology: Topology, attempt: Attempt, flops_per_image: int
) -> dict[str, Any]:
  """Returns the fields about the time of a step."""
  devices, batch = topology.device_count, attempt.batch_size
  summary = hlo.summarize(attempt.text, devices)
  flops = attempt.flops * summary.loops
  accessed = attempt.bytes_accessed * summary.loops
  wire = sum(c.wire_bytes for c in summary.collectives)
  compute = flops_per_image * batch / devices / topology.peak_flops
  memory = accessed / topology.hbm_bandwidth
  network = _network_seconds(topology, summary.collectives)
  roofline = max(compute, memory, network)
  # No program is faster than the peaks allow.
  step = roofline if summary.unknown else max(
      summary.cycles / (topology.generation.clock_mhz * 1e6) + network,
      compute)
  pace = batch / step
  return dict(
      loops=summary.loops, compiler_flops_per_image=flops * devices / batch,
      bytes_accessed=accessed, wire_bytes=wire,
      collectives=hlo.by_kind(summary.collectives),
      largest=tuple(dataclasses.asdict(c) for c in summary.collectives[:5]),
      estimated_cycles=summary.cycles,
      unknown_operations=summary.unknown, compute_seconds=compute,
      memory_seconds=memory, network_seconds=network,
      roofline_seconds=roofline,
      estimated_step_seconds=step, images_per_second=pace,
      images_per_second_per_device=pace / devices,
      mfu=compute / step)


def _network_seconds(
    topology: Topology, collectives: tuple[hlo.Collective, ...]
) -> float:
  """Returns how long the links are busy, one collective after another.

  A group larger than a slice also crosses the data-centre network, over which
  each device sends the share that its slice has reduced for it.
  """
  total = 0.0
  slice_size = topology.device_count // topology.slices
  for collective in collectives:
    total += collective.wire_bytes / topology.ici_bandwidth
    if topology.slices > 1 and (
        collective.group > slice_size or collective.group == topology.slices):
      inside = max(1, min(collective.group, slice_size))
      total += collective.wire_bytes / inside / topology.dcn_bandwidth
  return total


def paper_core_days(config: ConfigDict, total: int) -> float | None:
  """Returns Table 2's core-days of this pre-training, None for other runs.

  Args:
    config: of the run.
    total: its updates; a different length is a different run.
  """
  key = (config.model.variant, config.data.source)
  if key not in PAPER_CORE_DAYS or config.optim.name != "adam":
    return None
  steps, days = PAPER_CORE_DAYS[key]
  steps_of_4096 = total * config.data.batch_size / 4096
  return days if abs(steps_of_4096 - steps) <= 0.01 * steps else None

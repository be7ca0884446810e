"""From a compiled program to memory, seconds per step and days per run.

Nothing here was timed. The time of a step is the sum over its operations of
`vit_jax.aot.operations`: each takes as long as its matrix products at the peak,
or its traffic with HBM at the bandwidth, whichever is longer. Copies that the
compiler starts ahead use the bandwidth that the others leave. The time in which
the links carry what the collectives send is added, as if nothing overlapped.
Vector arithmetic and matrix units that are not full are missing, so this is a
lower bound; the compiler's final schedule, where it was dumped
(`vit_jax.aot.schedule`), has both, and takes the place of the products' time.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from ml_collections import ConfigDict

from vit_jax.aot import hlo
from vit_jax.aot.lower import Attempt, compile_step, device_bytes
from vit_jax.aot.operations import Operation, operations
from vit_jax.aot.schedule import fill_in
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
    compiler_flops_per_image: of the compiled program's matrix products, with
      what is computed again.
    hbm_bytes_moved: read from and written to HBM by a step.
    groups: group of operations (see `vit_jax.aot.operations.GROUPS`) ->
      "flops", "bytes" and "seconds" of a step.
    method: of the step's time: "operations" or "schedule", see the module.
    unscheduled: operations that compute and are missing in the schedule.
    collectives: kind -> count and wire_bytes; largest: the largest few.
    wire_bytes: sent to other devices on a ring.
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
  compiler_flops_per_image: float | None = None
  hbm_bytes_moved: int | None = None
  groups: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
  method: str = "operations"
  unscheduled: int = 0
  collectives: dict[str, dict[str, float]] = dataclasses.field(
      default_factory=dict)
  largest: tuple[dict[str, Any], ...] = ()
  wire_bytes: float | None = None
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
    evaluation: bool = False, schedule: str | None = None,
) -> Estimate:
  """Compiles a config for a slice and estimates what it would cost.

  Args:
    config, topology, num_classes, total, evaluation, schedule: see
      `vit_jax.aot.lower.compile_step`.

  Raises:
    UsageError, UserError: as there.
  """
  attempt = compile_step(
      config, topology, num_classes=num_classes, total=total,
      evaluation=evaluation, schedule=schedule)
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
  collectives = hlo.collectives(attempt.text, devices)
  found = operations(attempt.text)
  cycles = attempt.cycles and fill_in(attempt.cycles, found)
  moved = sum(x.times * x.bytes for x in found)
  compute = flops_per_image * batch / devices / topology.peak_flops
  memory = moved / topology.hbm_bandwidth
  network = _network_seconds(topology, collectives)
  timed = [(x, _seconds(x, topology, cycles)) for x in found]
  working = sum(seconds for x, seconds in timed
                if x.group not in ("transfers", "network"))
  # No program is faster than the peaks allow.
  step = max(working, memory, compute) + network
  pace = batch / step
  return dict(
      compiler_flops_per_image=sum(
          x.times * x.flops for x in found) * devices / batch,
      hbm_bytes_moved=moved, groups=_by_group(timed),
      method="operations" if cycles is None else "schedule",
      unscheduled=0 if cycles is None else sum(
          x.flops > 0 and x.name not in cycles for x in found),
      wire_bytes=sum(c.wire_bytes for c in collectives),
      collectives=hlo.by_kind(collectives),
      largest=tuple(dataclasses.asdict(c) for c in collectives[:5]),
      compute_seconds=compute,
      memory_seconds=memory, network_seconds=network,
      roofline_seconds=max(compute, memory, network),
      estimated_step_seconds=step, images_per_second=pace,
      images_per_second_per_device=pace / devices,
      mfu=compute / step)


def _seconds(
    operation: Operation, topology: Topology, cycles: Mapping[str, int] | None
) -> float:
  """Returns the time of all runs of an operation, see the module."""
  bound = operation.seconds(topology.peak_flops, topology.hbm_bandwidth)
  clock = topology.generation.clock_mhz * 1e6
  scheduled = (cycles or {}).get(operation.name, 0) / clock
  return max(bound, operation.times * scheduled)


def _by_group(
    timed: Sequence[tuple[Operation, float]]
) -> dict[str, dict[str, float]]:
  """Returns group -> FLOPs, bytes and seconds, the longest first."""
  groups: dict[str, dict[str, float]] = {}
  for operation, seconds in timed:
    total = groups.setdefault(
        operation.group, {"flops": 0, "bytes": 0, "seconds": 0.0})
    total["flops"] += operation.times * operation.flops
    total["bytes"] += operation.times * operation.bytes
    total["seconds"] += seconds
  return dict(sorted(groups.items(), key=lambda x: -x[1]["seconds"]))


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

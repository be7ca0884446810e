"""Slices of TPU chips: their names, sizes, memory and peaks.

`parse` reads the name of a slice ("v3-512", "v5e-256", "2x v5e-256",
"v5e:16x16"); `devices` has libtpu describe its devices, on any machine.
"""

import dataclasses
import importlib.util
import math
import os
import re
import sys
from typing import Any

from vit_jax.aot.schedule import init_args
from vit_jax.devices import chips
from vit_jax.devices.chips import TPU
from vit_jax.errors import UsageError, UserError, suggest

# Without these, libtpu looks for a TPU and a metadata server, warns that it
# found neither, or refuses to be loaded by two processes at once.
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_STDERR_LOG_LEVEL": "3",
}


_NAME = re.compile(
    r"(?:(?P<slices>\d+)\s*x\s+|(?P<slices2>\d+)\*)?"
    r"(?P<generation>[a-z]*\d*[a-z]*)[-:](?P<size>[\dx]+)")


@dataclasses.dataclass(frozen=True)
class Topology:
  """One or several slices of a generation.

  Attributes:
    generation: of the chips.
    shape: chips of one slice along each dimension, such as (16, 16).
    slices: number of slices, connected by the data centre's network.
  """

  generation: TPU
  shape: tuple[int, ...]
  slices: int = 1

  @property
  def slice_chips(self) -> int:
    """Chips of one slice."""
    return math.prod(self.shape)

  @property
  def chips(self) -> int:
    """Chips of all slices."""
    return self.slice_chips * self.slices

  @property
  def device_count(self) -> int:
    """JAX devices of all slices."""
    return self.chips * self.generation.devices

  @property
  def cores(self) -> int:
    """TensorCores of all slices: the unit of the paper's core-days."""
    return self.chips * self.generation.cores

  @property
  def hbm_bytes(self) -> int:
    """Memory of one device that a program may use."""
    return int(self.generation.hbm_gib_per_device * 2**30)

  @property
  def peak_flops(self) -> float:
    """Dense peak of one device with 16-bit inputs, in FLOP/s."""
    return self.generation.flops_per_device

  @property
  def hbm_bandwidth(self) -> float:
    """Memory bandwidth of one device, in bytes per second."""
    return self.generation.hbm_gb_per_s * 1e9 / self.generation.devices

  @property
  def ici_bandwidth(self) -> float:
    """Bytes per second that one device sends to other chips of its slice."""
    return self.generation.ici_gb_per_s * 1e9 / self.generation.devices

  @property
  def dcn_bandwidth(self) -> float:
    """Bytes per second that one device sends to other slices."""
    return self.generation.dcn_gb_per_s * 1e9 / self.generation.devices

  @property
  def name(self) -> str:
    """The accelerator type, preceded by the number of slices if several."""
    size = self.slice_chips * self.generation.cores
    prefix = f"{self.slices}x " if self.slices > 1 else ""
    return f"{prefix}{self.generation.name}-{size}"

  @property
  def libtpu_name(self) -> str:
    """The name that libtpu gives one slice, such as "v5e:16x16"."""
    return f"{self.generation.libtpu}:{'x'.join(map(str, self.shape))}"


def parse(name: str) -> Topology:
  """Reads the name of a slice, or of several.

  Args:
    name: accelerator type ("v3-512", "v4-256", "v5e-256", "v5litepod-16",
      "v5p-128", "v6e-64", "7x-128"), whose number counts TensorCores, or
      chips for v5e and v6e; or libtpu's shape in chips ("v5e:16x16",
      "tpu7x:4x4x4"); preceded by the number of slices ("2x v5e-256").

  Raises:
    UsageError: an unknown generation, or a size that it does not have.
  """
  match = _NAME.fullmatch(name.strip().lower())
  if not match:
    raise UsageError(
        f"--topology={name!r} is not a TPU slice; names look like v3-512, "
        "v4-256, v5e-256, '2x v5e-256' or v5e:16x16")
  word = match["generation"]
  generation = chips.tpu_by_name(word)
  if generation is None:
    known = [tpu.name for tpu in chips.TPUS]
    raise UsageError(
        f"--topology={name}: unknown generation {word!r}"
        f"{suggest(word, known)}; known: {', '.join(known)}")
  slices = int(match["slices"] or match["slices2"] or 1)
  shape = (_read_shape if ":" in name else _shape_of_type)(
      name, generation, match["size"])
  if slices < 1 or not 1 <= math.prod(shape) <= generation.pod_chips:
    raise UsageError(
        f"--topology={name}: {generation.name} slices have 1 to "
        f"{generation.pod_chips} chips")
  return Topology(generation, shape, slices)


def sizes(generation: TPU) -> dict[str, str]:
  """Returns the number in the accelerator type -> shape, of usual slices."""
  return {str(count * generation.cores): shape
          for count, shape in generation.shapes.items()}


def _shape_of_type(
    name: str, generation: TPU, size: str) -> tuple[int, ...]:
  """Returns the shape that belongs to the number in an accelerator type."""
  known = sizes(generation)
  if size not in known:
    counts = "TensorCores" if generation.cores == 2 else "chips"
    raise UsageError(
        f"--topology={name}: no such slice; N of {generation.name}-N counts "
        f"{counts}: {', '.join(known)}; other shapes as "
        f"{generation.libtpu}:{'x'.join('4' * generation.dimensions)}")
  return tuple(map(int, known[size].split("x")))


def _read_shape(
    name: str, generation: TPU, size: str) -> tuple[int, ...]:
  """Reads a shape that is written out, such as "4x4x8"."""
  sides = size.split("x")
  if len(sides) != generation.dimensions or not all(
      side.isdecimal() for side in sides):
    example = "x".join("4" * generation.dimensions)
    raise UsageError(
        f"--topology={name}: {generation.name} is wired in "
        f"{generation.dimensions} dimensions; write "
        f"{generation.libtpu}:{example}")
  return tuple(map(int, sides))


def check_schedule(topology: Topology) -> None:
  """Raises UsageError for a generation whose final schedule misleads."""
  if topology.generation.name in ("v2", "v3"):
    raise UsageError(
        f"--schedule: the compiler's final schedule for {topology.name} cannot "
        "be read as time (docs/estimates.md); leave it out")


def set_up_libtpu(schedule: str | None = None) -> None:
  """Sets the environment that libtpu reads; call before importing jax.

  Args:
    schedule: folder for the final schedules of all programs; None for none.

  Raises:
    UserError: libtpu is not installed.
  """
  if importlib.util.find_spec("libtpu") is None:
    raise UserError(
        "the TPU compiler is missing: pip install 'vit_jax[tpu]', or "
        "'jax[tpu]' in the installed version of jax; no TPU is needed")
  os.environ["JAX_PLATFORMS"] = "cpu"
  for key, value in ENVIRONMENT.items():
    os.environ.setdefault(key, value)
  if "jax" not in sys.modules:
    # A program for a device that is not there cannot be read from a cache of
    # programs: jax would warn, and compile it again.
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
  if schedule is not None:
    os.environ["LIBTPU_INIT_ARGS"] = " ".join((
        os.environ.get("LIBTPU_INIT_ARGS", ""), init_args(schedule))).strip()


def devices(topology: Topology) -> list[Any]:
  """Returns descriptions of JAX devices, to compile for but not to run on.

  Raises:
    UserError: libtpu is not installed, or does not know the slice.
  """
  set_up_libtpu()
  from jax.experimental import topologies

  options: dict[str, Any] = dict(topology.generation.topology_options)
  if topology.slice_chips in topology.generation.single_host_chips:
    options["chips_per_host_bounds"] = (*topology.shape, 1, 1)[:3]
  if topology.slices > 1:
    options["num_slices"] = topology.slices
  try:
    described = topologies.get_topology_desc(
        platform="tpu", topology_name=topology.libtpu_name, **options)
  except Exception as error:  # jaxlib's errors have no common class.
    raise UserError(
        f"libtpu cannot describe {topology.libtpu_name}: "
        f"{str(error).splitlines()[0]}") from error
  return list(described.devices)

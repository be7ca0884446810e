"""Cloud TPU slices, as data: names, shapes, memory, peaks.

`parse` reads what people call a slice ("v3-512", "v5e-256", "2x v5e-256",
"v5e:16x16"); `devices` asks libtpu to describe it, on a machine without TPU.
"""

import dataclasses
import importlib.util
import math
import os
import re
from typing import Any

from vit_jax.errors import UsageError, UserError, suggest

# Without these, libtpu looks for a TPU and its metadata server, complains that
# there is none, or refuses to be loaded by two processes at once.
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


@dataclasses.dataclass(frozen=True)
class Generation:
  """One TPU generation; rates are of a whole chip.

  Attributes:
    name: as people say it, and its prefix in accelerator types.
    libtpu: what libtpu calls it.
    cores: what the number in an accelerator type counts, per chip.
    devices: JAX devices per chip (2: a device is one TensorCore).
    dimensions: of the torus in which chips are wired.
    largest: chips of the largest slice.
    hbm_gib: memory per chip as specified.
    usable_gib: memory per device that the compiler gives out: what libtpu
      0.0.42 names when a program is too large.
    teraflops: dense peak at 16 bits.
    hbm_gbps: memory bandwidth in GB/s.
    ici_gbps: links to other chips, all together, one way, in GB/s.
    dcn_gbps: a chip's share of its host's network, between slices, in GB/s.
    clock_mhz: of a TensorCore; peak / (FLOPs of its matrix units per cycle).
    options: that libtpu wants to describe it as JAX sees it.
  """

  name: str
  libtpu: str
  cores: int
  devices: int
  dimensions: int
  largest: int
  hbm_gib: float
  usable_gib: float
  teraflops: float
  hbm_gbps: float
  ici_gbps: float
  dcn_gbps: float
  clock_mhz: float
  options: tuple[tuple[str, str], ...] = ()


_MEGACORE = (("chip_config_name", "megacore"),)
# Google Cloud's pages on each generation (system architecture); ICI of v2 and
# v3: Jouppi et al., "A domain-specific supercomputer for training deep neural
# networks" (2020), table 1. Links are given there in both directions together
# for 7x; here one way. Between slices: 100 Gbit/s a host of v2 to v4, 200 for
# the later ones, which is an assumption where the pages are silent.
GENERATIONS = {g.name: g for g in (
    Generation("v2", "v2", 2, 2, 2, 256, 16, 7.48, 45, 700, 248, 3.1, 700),
    Generation("v3", "v3", 2, 2, 2, 1024, 32, 15.48, 123, 900, 328, 3.1, 940),
    Generation("v4", "v4", 2, 1, 3, 4096, 32, 30.75, 275, 1200, 300, 3.1,
               1050, _MEGACORE),
    Generation("v5e", "v5e", 1, 1, 2, 256, 16, 15.75, 197, 819, 200, 3.1,
               1500),
    Generation("v5p", "v5p", 2, 1, 3, 8960, 95, 95.74, 459, 2765, 600, 6.2,
               1750, _MEGACORE),
    Generation("v6e", "v6e", 1, 1, 2, 256, 32, 31.25, 918, 1640, 448, 12.5,
               1750),
    Generation("7x", "tpu7x", 2, 2, 3, 9216, 192, 94.75, 2307, 7380, 600,
               12.5, 2200),
)}
ALIASES = {"v5litepod": "v5e", "v5lite": "v5e", "v5": "v5p", "tpu7x": "7x",
           "v7x": "7x", "ironwood": "7x", "trillium": "v6e"}
# Shapes of slices, in chips; others as libtpu shapes ("v5p:8x8x12").
FLAT = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8",
        128: "8x16", 256: "16x16", 512: "16x32", 1024: "32x32"}
CUBE = {1: "1x1x1", 4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4",
        64: "4x4x4", 128: "4x4x8", 256: "4x8x8", 512: "8x8x8",
        1024: "8x8x16", 2048: "8x16x16", 3072: "12x16x16", 4096: "16x16x16",
        6144: "16x16x24"}
# Chips of one host; one that has them all is a slice of its own.
HOSTS = {"v5e": {1: (1, 1, 1), 4: (2, 2, 1), 8: (2, 4, 1)},
         "v6e": {1: (1, 1, 1), 4: (2, 2, 1), 8: (2, 4, 1)},
         "7x": {1: (1, 1, 1)}}

_NAME = re.compile(
    r"(?:(?P<slices>\d+)\s*x\s+|(?P<slices2>\d+)\*)?"
    r"(?P<generation>[a-z]*\d*[a-z]*)[-:](?P<size>[\dx]+)")


@dataclasses.dataclass(frozen=True)
class Topology:
  """One or several slices of a generation.

  Attributes:
    generation: of the chips.
    shape: chips of one slice along each dimension, such as (16, 16).
    slices: number of slices, joined by the data-centre network.
  """

  generation: Generation
  shape: tuple[int, ...]
  slices: int = 1

  @property
  def chips(self) -> int:
    """Chips of all slices."""
    return math.prod(self.shape) * self.slices

  @property
  def device_count(self) -> int:
    """JAX devices of all slices."""
    return self.chips * self.generation.devices

  @property
  def cores(self) -> int:
    """TensorCores of all slices, which prices and the paper count in."""
    return self.chips * self.generation.cores

  @property
  def hbm_bytes(self) -> int:
    """Memory of one device that a program may use."""
    return int(self.generation.usable_gib * 2**30)

  @property
  def peak_flops(self) -> float:
    """Peak of one device in FLOP/s at 16 bits."""
    return self.generation.teraflops * 1e12 / self.generation.devices

  @property
  def hbm_bandwidth(self) -> float:
    """Memory bandwidth of one device in bytes per second."""
    return self.generation.hbm_gbps * 1e9 / self.generation.devices

  @property
  def ici_bandwidth(self) -> float:
    """Bytes per second that one device sends to other chips of its slice."""
    return self.generation.ici_gbps * 1e9 / self.generation.devices

  @property
  def dcn_bandwidth(self) -> float:
    """Bytes per second that one device sends to other slices."""
    return self.generation.dcn_gbps * 1e9 / self.generation.devices

  @property
  def name(self) -> str:
    """The accelerator type, with the number of slices before it."""
    size = math.prod(self.shape) * self.generation.cores
    prefix = f"{self.slices}x " if self.slices > 1 else ""
    return f"{prefix}{self.generation.name}-{size}"

  @property
  def libtpu_name(self) -> str:
    """What libtpu calls one slice, such as "v5e:16x16"."""
    return f"{self.generation.libtpu}:{'x'.join(map(str, self.shape))}"


def parse(name: str) -> Topology:
  """Reads the name of a slice, or of several.

  Args:
    name: accelerator type ("v3-512", "v4-256", "v5e-256", "v5litepod-16",
      "v5p-128", "v6e-64", "7x-128"), whose number counts TensorCores, or
      chips for v5e and v6e; or libtpu shape ("v5e:16x16", "tpu7x:4x4x4"), in
      chips; before it the number of slices ("2x v5e-256").

  Raises:
    UsageError: no such generation, or no slice of that size.
  """
  match = _NAME.fullmatch(name.strip().lower())
  if not match:
    raise UsageError(
        f"--topology={name!r} is no TPU slice; names look like v3-512, "
        "v4-256, v5e-256, '2x v5e-256' or v5e:16x16")
  word = ALIASES.get(match["generation"], match["generation"])
  if word not in GENERATIONS:
    raise UsageError(
        f"--topology={name}: unknown generation {word!r}"
        f"{suggest(word, GENERATIONS)}; known: {', '.join(GENERATIONS)}")
  generation = GENERATIONS[word]
  slices = int(match["slices"] or match["slices2"] or 1)
  shape = (_shape if ":" in name else _accelerator)(
      name, generation, match["size"])
  if slices < 1 or not 1 <= math.prod(shape) <= generation.largest:
    raise UsageError(
        f"--topology={name}: {word} slices have 1 to {generation.largest} "
        "chips")
  return Topology(generation, shape, slices)


def sizes(generation: Generation) -> dict[str, str]:
  """Returns number in the accelerator type -> shape, of the usual slices."""
  table = FLAT if generation.dimensions == 2 else CUBE
  small = HOSTS.get(generation.name, {4: ()})
  # Flat ones of two hosts are to be had only where eight chips are one host.
  return {str(chips * generation.cores): shape
          for chips, shape in table.items() if chips <= generation.largest and (
              chips >= 16 or chips in small or generation.dimensions == 3
              and chips >= 4)}


def _accelerator(
    name: str, generation: Generation, size: str) -> tuple[int, ...]:
  """Returns the shape of an accelerator type."""
  known = sizes(generation)
  if size not in known:
    counts = "TensorCores" if generation.cores == 2 else "chips"
    raise UsageError(
        f"--topology={name}: no such slice; N of {generation.name}-N counts "
        f"{counts}: {', '.join(known)}; other shapes as "
        f"{generation.libtpu}:{'x'.join('4' * generation.dimensions)}")
  return tuple(map(int, known[size].split("x")))


def _shape(name: str, generation: Generation, size: str) -> tuple[int, ...]:
  """Returns a shape that is written out."""
  sides = size.split("x")
  if len(sides) != generation.dimensions or not all(
      side.isdecimal() for side in sides):
    example = "x".join("4" * generation.dimensions)
    raise UsageError(
        f"--topology={name}: {generation.name} is wired in "
        f"{generation.dimensions} dimensions; write "
        f"{generation.libtpu}:{example}")
  return tuple(map(int, sides))


def prepare() -> None:
  """Sets what libtpu reads from the environment; before jax is imported.

  Raises:
    UserError: libtpu is not installed.
  """
  if importlib.util.find_spec("libtpu") is None:
    raise UserError(
        "the TPU compiler is missing: pip install 'vit_jax[tpu]', or "
        "'jax[tpu]' of the version of jax at hand; no TPU is needed")
  os.environ["JAX_PLATFORMS"] = "cpu"
  for key, value in ENVIRONMENT.items():
    os.environ.setdefault(key, value)


def devices(topology: Topology) -> list[Any]:
  """Returns described JAX devices: a mesh over them compiles, nothing runs.

  Raises:
    UserError: libtpu is missing, or has no such slice.
  """
  prepare()
  from jax.experimental import topologies

  options: dict[str, Any] = dict(topology.generation.options)
  chips = math.prod(topology.shape)
  bounds = HOSTS.get(topology.generation.name, {}).get(chips)
  if bounds:
    options["chips_per_host_bounds"] = bounds
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

"""The Cloud TPU slices, as data: names, hosts, machine types, topologies.

`python -m launch.accelerators` prints the table of launch/README.md.
"""

import dataclasses
import difflib

from launch.gcloud import UsageError

# Chips of a slice -> how they are wired, for the two kinds of torus.
_FLAT = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8",
         128: "8x16", 256: "16x16", 512: "16x32", 1024: "32x32"}
_CUBE = {1: "1x1x1", 4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4",
         64: "4x4x4", 128: "4x4x8", 256: "4x8x8", 512: "8x8x8",
         1024: "8x8x16", 2048: "8x16x16", 3072: "12x16x16",
         4096: "16x16x16", 6144: "16x16x24"}
_ACCELERATOR_IMAGE = "ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e"


@dataclasses.dataclass(frozen=True)
class Generation:
  """One TPU generation.

  Attributes:
    name: as people say it ("v5e").
    prefix: what accelerator types begin with ("v5litepod").
    cores_per_chip: what the number in an accelerator type counts, per chip:
      2 where it counts TensorCores, 1 where it counts chips.
    chips: slice sizes that can be asked for, in chips.
    topologies: chips of a slice -> topology.
    single_host: sizes in chips that are one VM; larger slices have 4 chips
      a VM.
    runtime: software version of the Cloud TPU API; "" = not served by it.
    machine: Compute Engine machine type with {chips} per VM; "" = not there.
    image: Compute Engine image family (project ubuntu-os-accelerator-images).
    gke: the value of GKE's node label cloud.google.com/gke-tpu-accelerator.
    disk: boot disk type on Compute Engine; "" = the default.
    nic: network card on Compute Engine; "" = the default.
  """

  name: str
  prefix: str
  cores_per_chip: int
  chips: tuple[int, ...]
  topologies: dict[int, str]
  single_host: tuple[int, ...]
  runtime: str = ""
  machine: str = ""
  image: str = ""
  gke: str = ""
  disk: str = ""
  nic: str = ""


GENERATIONS = (
    Generation("v2", "v2", 2, (4, 16, 64, 128, 256), _FLAT, (4,),
               runtime="tpu-ubuntu2204-base"),
    Generation("v3", "v3", 2, (4, 16, 32, 64, 128, 256, 512, 1024), _FLAT,
               (4,), runtime="tpu-ubuntu2204-base"),
    Generation("v4", "v4", 2,
               (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048), _CUBE, (4,),
               runtime="tpu-ubuntu2204-base", gke="tpu-v4-podslice"),
    Generation("v5e", "v5litepod", 1, (1, 4, 8, 16, 32, 64, 128, 256), _FLAT,
               (1, 4, 8), runtime="v2-alpha-tpuv5-lite",
               gke="tpu-v5-lite-podslice"),
    Generation("v5p", "v5p", 2,
               (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3072, 4096,
                6144), _CUBE, (4,), runtime="v2-alpha-tpuv5",
               machine="ct5p-hightpu-{chips}t", image=_ACCELERATOR_IMAGE,
               gke="tpu-v5p-slice"),
    Generation("v6e", "v6e", 1, (1, 4, 8, 16, 32, 64, 128, 256), _FLAT,
               (1, 4, 8), runtime="v2-alpha-tpuv6e",
               machine="ct6e-standard-{chips}t", image=_ACCELERATOR_IMAGE,
               gke="tpu-v6e-slice"),
    Generation("7x", "tpu7x", 2,
               (1, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096), _CUBE,
               (1, 4), machine="tpu7x-standard-{chips}t",
               image="ubuntu-accel-2404-amd64-tpu-tpu7x", gke="tpu7x",
               disk="hyperdisk-balanced", nic="GVNIC"),
)
IMAGE_PROJECT = "ubuntu-os-accelerator-images"

# What else people write for an accelerator type's prefix.
_ALIASES = {"v5e": "v5litepod", "7x": "tpu7x", "v7x": "tpu7x"}


@dataclasses.dataclass(frozen=True)
class Slice:
  """One slice: `type` is the accelerator type, `chips` in the whole slice."""

  type: str
  generation: Generation
  chips: int

  @property
  def chips_per_host(self) -> int:
    """Chips of one VM."""
    return self.chips if self.chips in self.generation.single_host else 4

  @property
  def hosts(self) -> int:
    """VMs, which are also the JAX processes."""
    return self.chips // self.chips_per_host

  @property
  def topology(self) -> str:
    """How the chips are wired, as Compute Engine and GKE write it."""
    return self.generation.topologies[self.chips]

  @property
  def machine(self) -> str:
    """Compute Engine machine type, or ""."""
    return self.generation.machine.format(chips=self.chips_per_host)


def accelerator_type(generation: Generation, chips: int) -> str:
  """Returns the name that Google Cloud gives the slice ("v5litepod-16")."""
  return f"{generation.prefix}-{chips * generation.cores_per_chip}"


def parse(name: str) -> Slice:
  """Reads an accelerator type ("v3-32", "v5litepod-16", "tpu7x-16").

  "v5e-16", "7x-16" and "v7x-16" are understood too.

  Raises:
    UsageError: no such generation, or no slice of that size.
  """
  prefix, _, number = name.lower().rpartition("-")
  prefix = _ALIASES.get(prefix, prefix)
  for generation in GENERATIONS:
    if generation.prefix == prefix:
      break
  else:
    known = [f"{g.prefix}-N" for g in GENERATIONS]
    near = difflib.get_close_matches(f"{prefix}-N", known, 1, 0.4)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise UsageError(f"--accelerator={name}: unknown TPU generation{hint}; "
                     f"known: {', '.join(known)}")
  types = {accelerator_type(generation, c): c for c in generation.chips}
  if f"{prefix}-{number}" not in types:
    counts = "TensorCores" if generation.cores_per_chip == 2 else "chips"
    raise UsageError(f"--accelerator={name}: no such slice; N counts {counts};"
                     f" {generation.name} has {', '.join(types)}")
  return Slice(f"{prefix}-{number}", generation, types[f"{prefix}-{number}"])


def markdown() -> str:
  """Returns the table of launch/README.md."""
  rows = ["| generation | accelerator types | N counts | chips a VM "
          "| queued resources: runtime | Compute Engine: machine type |",
          "|---|---|---|---|---|---|"]
  for g in GENERATIONS:
    types = [accelerator_type(g, c) for c in g.chips]
    sizes = ", ".join([types[0], *(t.rpartition("-")[2] for t in types[1:])])
    per_vm = "/".join(map(str, sorted({*g.single_host, 4})))
    rows.append(
        f"| {g.name} | {sizes} | "
        f"{'TensorCores' if g.cores_per_chip == 2 else 'chips'} | {per_vm} | "
        f"{f'`{g.runtime}`' if g.runtime else 'not served'} | "
        + (f"`{g.machine.format(chips='N')}`" if g.machine else "not served")
        + " |")
  return "\n".join(rows) + "\n"


if __name__ == "__main__":
  print(markdown(), end="")

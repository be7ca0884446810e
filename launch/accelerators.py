"""The TPU slices that Google Cloud offers: names, hosts, machine types.

`python -m launch.accelerators` prints the table of launch/README.md. What is
known of each generation stands in vit_jax/devices/chips.py, which also needs
nothing but the standard library.
"""

import dataclasses
import difflib

from launch.gcloud import UsageError
from vit_jax.devices import chips as chip_table
from vit_jax.devices.chips import TPU

IMAGE_PROJECT = "ubuntu-os-accelerator-images"


@dataclasses.dataclass(frozen=True)
class Slice:
  """One slice.

  Attributes:
    type: Google Cloud's accelerator type ("v5litepod-16").
    generation: of its chips.
    chips: in the whole slice.
  """

  type: str
  generation: TPU
  chips: int

  @property
  def chips_per_host(self) -> int:
    """Chips of one VM."""
    return (self.chips if self.chips in self.generation.single_host_chips
            else 4)

  @property
  def hosts(self) -> int:
    """VMs, which are also the JAX processes."""
    return self.chips // self.chips_per_host

  @property
  def topology(self) -> str:
    """Shape of the slice, as Compute Engine and GKE write it ("4x4")."""
    return self.generation.shapes[self.chips]

  @property
  def machine(self) -> str:
    """Compute Engine machine type, or ""."""
    return self.generation.machine.format(chips=self.chips_per_host)


def accelerator_type(generation: TPU, chips: int) -> str:
  """Returns Google Cloud's name of a slice ("v5litepod-16")."""
  return f"{generation.accelerator}-{chips * generation.cores}"


def parse(name: str) -> Slice:
  """Reads an accelerator type ("v3-32", "v5litepod-16", "tpu7x-16").

  The other names of a generation are understood too ("v5e-16", "7x-16").

  Raises:
    UsageError: an unknown generation, or a size that is not offered.
  """
  prefix, _, number = name.lower().rpartition("-")
  generation = chip_table.tpu_by_name(prefix)
  if generation is None:
    known = [f"{tpu.accelerator}-N" for tpu in chip_table.TPUS]
    near = difflib.get_close_matches(f"{prefix}-N", known, 1, 0.4)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise UsageError(f"--accelerator={name}: unknown TPU generation{hint}; "
                     f"known: {', '.join(known)}")
  types = {accelerator_type(generation, chips): chips
           for chips in generation.offered_chips}
  full_name = f"{generation.accelerator}-{number}"
  if full_name not in types:
    counts = "TensorCores" if generation.cores == 2 else "chips"
    raise UsageError(f"--accelerator={name}: no such slice; N counts {counts};"
                     f" {generation.name} has {', '.join(types)}")
  return Slice(full_name, generation, types[full_name])


def markdown() -> str:
  """Returns the table of launch/README.md."""
  rows = ["| generation | accelerator types | N counts | chips per VM "
          "| queued resources: runtime | Compute Engine: machine type |",
          "|---|---|---|---|---|---|"]
  for tpu in chip_table.TPUS:
    types = [accelerator_type(tpu, chips) for chips in tpu.offered_chips]
    sizes = ", ".join([types[0], *(t.rpartition("-")[2] for t in types[1:])])
    counts = "TensorCores" if tpu.cores == 2 else "chips"
    per_vm = "/".join(map(str, sorted({*tpu.single_host_chips, 4})))
    runtime = f"`{tpu.runtime}`" if tpu.runtime else "not served"
    machine = (f"`{tpu.machine.format(chips='N')}`" if tpu.machine
               else "not served")
    rows.append(f"| {tpu.name} | {sizes} | {counts} | {per_vm} | {runtime} | "
                f"{machine} |")
  return "\n".join(rows) + "\n"


if __name__ == "__main__":
  print(markdown(), end="")

"""Models x slices: pre-training at batch 4,096 as the configs have it.

With blocks as one loop, computed again in the backward pass: unrolled they
compile for minutes each, and for ten on v4 and v5p. H/14 and G/14 are trained
like this; for the smaller ones it costs some per cent of the pace.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from ml_collections import ConfigDict

from vit_jax.aot import topologies
from vit_jax.aot.estimate import Estimate, estimate
from vit_jax.config import schema

MODELS = ("S/16", "B/16", "L/16", "H/14", "G/14")
# For many operations of 7x the compiler gives no estimate of cycles: it can be
# asked whether a run fits, and not for the pace.
TOPOLOGIES = ("v3-512", "v4-256", "v5e-256", "2x v5e-256", "v5p-128", "v6e-64")
CONFIG = "configs/pretrain.py:{model},imagenet21k"
HEADER = ("model", "slice", "devices", "mesh", "GiB of", "img/s/device", "MFU",
          "ms/step", "roofline ms", "days", "core-days")


def estimates(
    configs: Mapping[str, ConfigDict], slices: Sequence[str], *,
    examples: int, num_classes: int,
    note: Callable[[str], None] = lambda text: None,
) -> Iterator[tuple[str, Estimate]]:
  """Yields (model, estimate) for every model on every slice.

  Args:
    configs: by model.
    slices: names that `topologies.parse` reads.
    examples, num_classes: of ImageNet-21k.
    note: told of each, once it is compiled.
  """
  for model, config in configs.items():
    config = schema.resolve(config)
    config.model.scan = True
    if config.model.remat == "none":
      config.model.remat = "dots"
    total = schema.total_steps(config, examples)
    for name in slices:
      found = estimate(config, topologies.parse(name),
                       num_classes=num_classes, total=total)
      note(f"{model} on {name}: {'fits' if found.fits else 'does not fit'}, "
           f"{found.compile_seconds:.0f} s")
      yield model, found


def row(model: str, found: Estimate) -> list[str]:
  """Returns the cells under HEADER."""
  mesh = " ".join(f"{axis} {size}" for axis, size in found.mesh.items()
                  if size > 1)
  memory = f"{found.peak_bytes / 2**30:.1f} of {found.hbm_bytes / 2**30:.1f}"
  cells = [model, found.topology, str(found.devices), mesh, memory]
  if not found.fits:
    return [*cells, "does not fit", "", "", "", "", ""]
  return [
      *cells, f"{found.images_per_second_per_device:,.0f}",
      f"{found.mfu:.0%}", f"{found.estimated_step_seconds * 1e3:,.0f}",
      f"{found.roofline_seconds * 1e3:,.0f}",
      f"{found.days:.1f}", f"{found.core_days:,.0f}"]


def markdown(rows: Sequence[Sequence[str]]) -> str:
  """Returns the table as Markdown."""
  lines = [HEADER, ["---"] * len(HEADER), *rows]
  return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"

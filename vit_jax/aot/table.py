"""A table of models x slices: pre-training at batch 4,096, as in the configs.

The blocks are one loop, recomputed in the backward pass: unrolled, each program
takes minutes to compile, and ten on v4 and v5p. H/14 and G/14 are trained like
this anyway; the smaller models lose a few per cent of their pace.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from ml_collections import ConfigDict

from vit_jax.aot import topologies
from vit_jax.aot.estimate import Estimate, estimate
from vit_jax.config import schema
from vit_jax.report.markdown import markdown_table

MODELS = ("S/16", "B/16", "L/16", "H/14", "G/14")
# Without 7x, for which the compiler of libtpu 0.0.42.1 overflows its stack at
# small batches.
TOPOLOGIES = ("v3-512", "v4-256", "v5e-256", "2x v5e-256", "v5p-128", "v6e-64")
CONFIG = "configs/pretrain.py:{model},imagenet21k"
HEADER = ("model", "slice", "devices", "mesh", "GiB of", "img/s/device", "MFU",
          "ms/step", "roofline ms", "days", "core-days")


def estimates(
    configs: Mapping[str, ConfigDict], slices: Sequence[str], *,
    examples: int, num_classes: int,
    schedule: str | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Iterator[tuple[str, Estimate]]:
  """Yields (model, estimate) for every model on every slice.

  Args:
    configs: by model.
    slices: names that `topologies.parse` reads.
    examples, num_classes: of ImageNet-21k.
    schedule: see `vit_jax.aot.lower.compile_step`.
    note: called with a line about each, once it is compiled.
  """
  for model, config in configs.items():
    config = schema.resolve(config)
    config.model.scan = True
    if config.model.remat == "none":
      config.model.remat = "dots"
    total = schema.total_steps(config, examples)
    for name in slices:
      result = estimate(config, topologies.parse(name),
                        num_classes=num_classes, total=total, schedule=schedule)
      note(f"{model} on {name}: {'fits' if result.fits else 'does not fit'}, "
           f"{result.compile_seconds:.0f} s")
      yield model, result


def row(model: str, result: Estimate) -> list[str]:
  """Returns the cells under HEADER."""
  mesh = " ".join(f"{axis} {size}" for axis, size in result.mesh.items()
                  if size > 1)
  memory = f"{result.peak_bytes / 2**30:.1f} of {result.hbm_bytes / 2**30:.1f}"
  cells = [model, result.topology, str(result.devices), mesh, memory]
  if not result.fits:
    return [*cells, "does not fit", "", "", "", "", ""]
  step, roofline = result.estimated_step_seconds, result.roofline_seconds
  assert step is not None and roofline is not None  # It fits.
  return [
      *cells, f"{result.images_per_second_per_device:,.0f}",
      f"{result.mfu:.0%}", f"{step * 1e3:,.0f}", f"{roofline * 1e3:,.0f}",
      f"{result.days:.1f}", f"{result.core_days:,.0f}"]


def markdown(rows: Sequence[Sequence[str]]) -> str:
  """Returns the table as Markdown."""
  return markdown_table(HEADER, rows)

"""Time and memory over batch, tokens and depth, with the formulas beside them.
"""

import math
import statistics
from typing import Any

from vit_jax.benchmark.growth import BASE, Growth
from vit_jax.report.axes import plain

_MIB = 2.0**20
# Quantity of this machine, of the TPU's estimate, formula, unit, label.
_ROWS = (("seconds", "tpu_seconds", "flops", 1.0, "seconds an update"),
         ("bytes", "tpu_bytes", "kept_bytes", _MIB, "MiB beside the state"))


def write_figure(
    points: list[Growth], path: str, *, model: str, slice_name: str | None
) -> None:
  """Draws the points into a file, in the format of the path's extension.

  Args:
    points: of all axes.
    path: where to.
    model: whose points they are.
    slice_name: of the TPU that was estimated, if any.
  """
  import matplotlib
  matplotlib.use("Agg")
  from matplotlib import pyplot as plt

  axes = list(dict.fromkeys(point.axis for point in points))
  figure, panels = plt.subplots(
      2, len(axes), figsize=(3.6 * len(axes), 6), dpi=150, squeeze=False,
      layout="constrained")
  for column, axis in enumerate(axes):
    found = [point for point in points if point.axis == axis]
    for row, (here, there, formula, unit, label) in enumerate(_ROWS):
      panel = panels[row][column]
      _draw(panel, found, here, unit, color="#1f77b4", marker="o",
            label="this machine")
      _draw(panel, found, there, unit, color="#d62728", marker="s",
            label=f"{slice_name}, estimated")
      _draw_formula(panel, found, here, formula, unit)
      _scale(panel, found)
      if not column:
        panel.set_ylabel(label)
    others = ", ".join(f"{name} {BASE[name]}" for name in BASE if name != axis)
    panels[0][column].set_title(others, fontsize=9)
    panels[1][column].set_xlabel(axis)
  handles, labels = panels[0][0].get_legend_handles_labels()
  figure.legend(handles, labels, frameon=False, ncols=3,
                loc="outside lower center")
  figure.suptitle(f"How an update of {model} grows, float32, SGD", fontsize=11)
  figure.savefig(path)
  plt.close(figure)


def _draw(
    panel: Any, points: list[Growth], quantity: str, unit: float, **style: Any
) -> None:
  """Draws what is known of a quantity."""
  known = [p for p in points if getattr(p, quantity) is not None]
  if known:
    panel.plot([p.value for p in known],
               [getattr(p, quantity) / unit for p in known],
               linewidth=1.4, markersize=4.5, **style)


def _draw_formula(
    panel: Any, points: list[Growth], quantity: str, formula: str, unit: float
) -> None:
  """Draws a formula, moved along the axis to what was measured."""
  moved = math.exp(statistics.fmean(
      math.log(getattr(p, quantity) / getattr(p, formula)) for p in points))
  panel.plot([p.value for p in points],
             [moved * getattr(p, formula) / unit for p in points],
             color="#555555", linestyle="--", linewidth=1.0,
             label="slope by formula")


def _scale(panel: Any, points: list[Growth]) -> None:
  """Makes both axes logarithmic, with the points' values as ticks."""
  panel.set_xscale("log", base=2)
  panel.set_yscale("log")
  values = [point.value for point in points]
  panel.set_xticks(values, [f"{value:,}" for value in values], fontsize=7)
  panel.tick_params(axis="y", labelsize=8)
  panel.minorticks_off()
  plain(panel)

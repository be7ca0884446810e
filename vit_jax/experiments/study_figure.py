"""The figure of a study: score against cost, amount of data or epochs."""

from collections.abc import Mapping
import io

from etils import epath

from vit_jax.experiments.study import Outcome, Study
from vit_jax.report.axes import plain

_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf",
            "#8c564b", "#7f7f7f")
# More labels than these would run into each other.
MOST_TICKS = 6


def curves(
    study: Study, outcome: Outcome
) -> dict[str, list[tuple[float, float, float]]]:
  """Returns for each series its points (x, mean, std), from left to right."""
  found: dict[str, list[tuple[float, float, float]]] = {}
  for name, one in outcome.summary().items():
    row = study.rows[name]
    if row.x is None:
      continue
    # A row of every series: the model that all of them begin from.
    several = [row.series] if row.series else list(dict.fromkeys(
        r.series for r in study.rows.values() if r.series))
    for series in several:
      found.setdefault(series, []).append(
          (row.x, one["mean"], one["std"] or 0.0))
  return {series: sorted(points) for series, points in found.items()}


def write_figure(study: Study, outcome: Outcome, workdir: str) -> str:
  """Writes study.png into the working directory and returns its path."""
  import matplotlib
  matplotlib.use("Agg")
  from matplotlib import pyplot as plt
  from matplotlib import ticker

  figure, axes = plt.subplots(figsize=(7, 4.5), dpi=150)
  lines: Mapping = curves(study, outcome)
  for i, (series, points) in enumerate(lines.items()):
    x, mean, std = zip(*points, strict=True)
    axes.errorbar(
        x, [100 * m for m in mean],
        [100 * s for s in std] if any(std) else None, label=series,
        marker="o", markersize=5, linewidth=1.6, capsize=3,
        color=_COLOURS[i % len(_COLOURS)])
  axes.set_xscale("log")
  ticks = sorted({p[0] for points in lines.values() for p in points})
  if len(ticks) <= MOST_TICKS:
    axes.set_xticks(ticks, [f"{t:,.3g}" if t < 1e3 else f"{t:,.0f}"
                            for t in ticks])
  else:
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
  axes.minorticks_off()
  axes.set_xlabel(study.x_label)
  axes.set_ylabel(
      f"{study.metric.removeprefix('eval/').replace('/', ' ')} (%)")
  axes.set_title(f"{study.title} ({study.source})", fontsize=11, loc="left")
  plain(axes)
  if lines:
    axes.legend(frameon=False)
  figure.tight_layout()
  picture = io.BytesIO()
  figure.savefig(picture, format="png")
  plt.close(figure)
  path = epath.Path(workdir) / "study.png"
  path.write_bytes(picture.getvalue())
  return str(path)

"""The figure of a study: score against cost, amount of data or epochs."""

import io

from etils import epath

from vit_jax.experiments.study import Study, StudyOutcome
from vit_jax.report.axes import plain
from vit_jax.weights.formats.atomic import write_whole

_COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf",
           "#8c564b", "#7f7f7f")
# More labels would overlap.
MOST_TICKS = 6

Point = tuple[float, float, float]  # x, mean, standard deviation


def series_points(
    study: Study, outcome: StudyOutcome
) -> dict[str, list[Point]]:
  """Returns the points of each series, from left to right."""
  points: dict[str, list[Point]] = {}
  for name, summary in outcome.summary().items():
    row = study.rows[name]
    if row.x is None:
      continue
    # A row without a series is on all of them: the model that they start from.
    names = [row.series] if row.series else list(dict.fromkeys(
        r.series for r in study.rows.values() if r.series))
    for series in names:
      points.setdefault(series, []).append(
          (row.x, summary["mean"], summary["std"] or 0.0))
  return {series: sorted(members) for series, members in points.items()}


def caption(study: Study, outcome: StudyOutcome, data: str) -> str:
  """Returns the figure's second line: score, data, seeds, and their spread."""
  counts = [len(runs) for runs in outcome.scores.values() if runs]
  low, high = min(counts), max(counts)
  seeds = f"{low} to {high}" if low < high else f"{high}"
  score = study.metric.removeprefix("eval/").replace("/", " ")
  return (f"{score} on {data}, {seeds} seed{'s' if high > 1 else ''}"
          + (", bars: standard deviation" if high > 1 else "")
          + ("" if outcome.finished else ", not finished"))


def write_figure(
    study: Study, outcome: StudyOutcome, workdir: str, data: str
) -> str | None:
  """Writes study.png into the working directory and returns its path.

  Args:
    study, outcome: what was compared, and how it came out.
    workdir: local or a bucket.
    data: what was scored, for the title.

  Returns:
    None, without a file, while the figure has no point to show.
  """
  lines = series_points(study, outcome)
  if not lines:
    return None
  import matplotlib
  matplotlib.use("Agg")
  from matplotlib import pyplot as plt
  from matplotlib import ticker

  figure, axes = plt.subplots(figsize=(7, 4.5), dpi=150)
  for i, (series, points) in enumerate(lines.items()):
    x, mean, std = zip(*points, strict=True)
    axes.errorbar(
        x, [100 * m for m in mean],
        [100 * s for s in std] if any(std) else None, label=series,
        marker="o", markersize=5, linewidth=1.6, capsize=3,
        color=_COLORS[i % len(_COLORS)])
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
  axes.set_title(caption(study, outcome, data), fontsize=9, loc="left",
                 color="0.35")
  figure.suptitle(f"{study.title} ({study.source})", fontsize=11, x=0.02,
                  ha="left")
  plain(axes)
  axes.legend(frameon=False)
  figure.tight_layout()
  buffer = io.BytesIO()
  figure.savefig(buffer, format="png")
  plt.close(figure)
  path = epath.Path(workdir) / "study.png"
  write_whole(path, buffer.getvalue())
  return str(path)

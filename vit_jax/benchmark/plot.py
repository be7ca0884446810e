"""Figure 12 of the paper, drawn from a benchmark's record."""

from typing import Any

from vit_jax.benchmark.record import BenchmarkRecord, ModelCurve
from vit_jax.models import names
from vit_jax.report.axes import plain

# The paper's five from light to dark; ResNets are grey, hybrids orange.
_VITS = {"B/32": "#9ecae1", "B/16": "#4f9bd0", "L/32": "#74c476",
         "L/16": "#238b45", "H/14": "#54278f"}
# Of the others: marker, colours, line.
_FAMILIES = {
    names.VIT: ("o", ("#d62728", "#e377c2", "#8c564b", "#bcbd22"), ":"),
    names.HYBRID: ("^", ("#ff7f0e", "#b35806", "#fdb863"), "-."),
    names.RESNET: ("s", ("#252525", "#7f7f7f", "#b0b0b0", "#525252"), "--"),
}
TITLES = {"forward": "inference", "train": "training"}


def styles(models: list[str]) -> dict[str, dict[str, Any]]:
  """Returns colour, marker and line of each model, by family."""
  styles_by_model: dict[str, dict[str, Any]] = {}
  used = {"s": 0, "^": 0, "o": 0}
  for model in models:
    if model in _VITS:
      styles_by_model[model] = dict(
          color=_VITS[model], marker="o", linestyle="-")
      continue
    marker, colours, line = _FAMILIES[names.parse(model).family]
    colour = colours[used[marker] % len(colours)]
    used[marker] += 1
    styles_by_model[model] = dict(
        color=colour, marker=marker, linestyle=line)
  return styles_by_model


def write_figure(record: BenchmarkRecord, path: str) -> None:
  """Draws the record into a file, in the format of the path's extension."""
  import matplotlib
  matplotlib.use("Agg")
  from matplotlib import pyplot as plt

  figure = draw(record, plt)
  figure.savefig(path, bbox_inches="tight")
  plt.close(figure)


def draw(record: BenchmarkRecord, plt: Any) -> Any:
  """Returns the figure: pace on the left, largest batches on the right.

  Args:
    record: with at least one curve.
    plt: matplotlib.pyplot.
  """
  from matplotlib import ticker

  models = list(dict.fromkeys(curve.model for curve in record.curves))
  sizes = sorted({curve.image_size for curve in record.curves})
  figure, panels = plt.subplots(
      1, 2, figsize=(10.5, 4.4), dpi=150, layout="constrained")
  model_styles = styles(models)
  # Batches are powers of two and often equal: their markers are drawn side by
  # side.
  offsets = {model: 1 + 0.013 * (i - (len(models) - 1) / 2)
             for i, model in enumerate(models)}
  figure.get_layout_engine().set(wspace=0.06)
  for axes, value, dodge in zip(
      panels, (_peak_pace, _largest_batch), (0, 1), strict=True):
    for model in models:
      curves = sorted(
          (c for c in record.curves if c.model == model and c.points),
          key=lambda curve: curve.image_size)
      axes.plot([c.image_size * offsets[model]**dodge for c in curves],
                [value(c) for c in curves], label=model, linewidth=1.8,
                markersize=5.5, **model_styles[model])
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size}" for size in sizes])
    axes.set_xlabel("input size (pixels)")
    axes.set_yscale("log", base=2 if dodge else 10)
    if not dodge:
      axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.minorticks_off()
    plain(axes)
  panels[0].set_ylabel("images per second per device")
  panels[0].set_title("Peak pace over batch sizes", fontsize=10)
  panels[1].set_ylabel("images per device")
  panels[1].set_title("Largest batch that fits", fontsize=10)
  _mark_unlimited(panels[1], record, model_styles, offsets)
  handles, labels = panels[0].get_legend_handles_labels()
  figure.legend(handles, labels, frameon=False, handlelength=3.2,
                loc="outside right center")
  figure.suptitle(f"Figure 12: {TITLES[record.what]} on {record.where}, "
                  f"{record.dtype}", fontsize=11)
  return figure


def _mark_unlimited(
    axes: Any, record: BenchmarkRecord, model_styles: dict[str, dict[str, Any]],
    offsets: dict[str, float],
) -> None:
  """Draws a hollow marker where larger batches were not tried and may fit."""
  unlimited = [c for c in record.curves if c.points and c.exceeded is None]
  for curve in unlimited:
    axes.plot(curve.image_size * offsets[curve.model], curve.largest_batch,
              **model_styles[curve.model] | {"linestyle": "none"},
              markersize=5.5, markerfacecolor="white", zorder=4)
  if unlimited:
    axes.annotate("hollow: no larger batch was tried", (0.02, 0.03),
                  xycoords="axes fraction", fontsize=8, color="#555555")


def _peak_pace(curve: ModelCurve) -> float:
  assert curve.peak is not None  # Curves without points are not drawn.
  return curve.peak.images_per_second_per_device


def _largest_batch(curve: ModelCurve) -> float:
  return curve.largest_batch

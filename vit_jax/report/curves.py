"""The curves of a training report: one drawing, as PNG and as SVG.

In the SVG colours are CSS variables, so that the page's light and dark styles
reach them, and text is text.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import io
import re
from typing import Any

import matplotlib
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
import numpy as np

Records = Mapping[str, Sequence[Mapping[str, Any]]]

# Light-mode values of the page's --c0 ... --c7, --ink, --muted and --line.
COLORS = ("#2563c9", "#d9580d", "#0f8a6a", "#8a4fd0", "#b07a05", "#c2255c",
          "#0b7fab", "#5f6672")
INK, MUTED, LINE = "#1d1d1c", "#6b6a66", "#e2e1dc"
_STYLE: dict[Any, Any] = {
    "font.size": 10, "font.family": "sans-serif", "text.color": INK,
    "axes.edgecolor": LINE, "axes.labelcolor": MUTED, "axes.titlesize": 11,
    "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": LINE,
    "grid.linewidth": 0.8, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.major.size": 0, "ytick.major.size": 0, "ytick.minor.size": 0,
    "legend.frameon": False, "legend.fontsize": 9.5, "svg.fonttype": "none",
    "svg.hashsalt": "vit_jax",
    "text.parse_math": False}  # Names of runs may have $ in them.
_DPI = 72  # of an SVG drawing
_MOST_READOUTS = 300  # points of a curve that the page can show


@dataclasses.dataclass(frozen=True)
class Curve:
  """One line: `values` (n,) at `steps` (n,).

  Attributes:
    run: name of the run, "" where there is only one.
    name: "train" or the evaluation's.
    color: number in COLORS.
    style: 0 for training, from 1 for evaluations.
  """

  run: str
  name: str
  color: int
  style: int
  steps: np.ndarray
  values: np.ndarray

  def label(self) -> str:
    """Returns the curve's name, with the run's where there are several."""
    return f"{self.run}, {self.name}" if self.run else self.name


@dataclasses.dataclass(frozen=True)
class Panel:
  """One set of axes."""

  title: str
  form: str  # of a value, for ticks and readouts: "percent", "rate", ...
  curves: tuple[Curve, ...]


def make_panels(records: Records) -> list[Panel]:
  """Returns the panels for which the records, by run, have values."""
  panels = []
  for title, form, train, scored in (
      ("Loss", "number", "train/loss", r"eval/(.+)/loss"),
      ("Accuracy", "percent", "train/accuracy", r"eval/(.+)/accuracy"),
      ("Learning rate", "rate", "train/learning_rate", None),
      ("Images per second", "count", "train/images_per_second", None)):
    curves = _curves(records, train, scored)
    if curves:
      panels.append(Panel(title, form, tuple(curves)))
  return panels


def _curves(
    records: Records, train: str, scored: str | None
) -> list[Curve]:
  """Returns the curves of one panel, in the order of the legend."""
  curves = []
  for i, (run, lines) in enumerate(records.items()):
    keys = {train: "train"} | {
        key: match[1] for key in sorted({k for x in lines for k in x})
        if scored and (match := re.fullmatch(scored, key))}
    for j, (key, name) in enumerate(keys.items()):
      points = [(x["step"], x[key]) for x in lines
                if isinstance(x.get(key), int | float)]
      if not points:
        continue
      many = len(records) > 1
      steps, values = np.asarray(points, np.float64).T
      curves.append(Curve(
          run if many else "", name, i if many else j, j, steps, values))
  return curves


def draw_panels(panels: Sequence[Panel]) -> Figure:
  """Draws panels two in a row; a sentence where there are none.

  The page explains the colours of several runs itself, above single panels.
  """
  rows, columns = max(1, -(-len(panels) // 2)), min(2, max(1, len(panels)))
  layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12, wspace=0.02)
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=(5.75 * columns, 3.5 * rows), layout=layout)
    if not panels:
      figure.text(0.5, 0.5, "no step has been logged yet", ha="center")
      return figure
    last = max(c.steps.max() for panel in panels for c in panel.curves)
    for i, panel in enumerate(panels):
      axes = figure.add_subplot(rows, columns, i + 1)
      _draw_panel(axes, panel)
      axes.set_xlim(-0.02 * max(last, 1), 1.02 * max(last, 1))
    if columns > 1:
      _legend_of_runs(figure, panels)
  return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
  axes.set_title(panel.title, pad=10)
  for i, curve in enumerate(panel.curves):
    look = _look(curve) | {"zorder": 3 + i}
    values = curve.values
    if curve.style == 0 and panel.form in ("number", "percent") and (
        len(values) > 60):
      # The measured values stay, pale, behind their mean.
      axes.plot(curve.steps, values, color=look["color"], lw=0.8, alpha=0.3)
      values = smoothed(values)
    if len(values) > 40 or (curve.style == 0 and len(values) > 1):
      look["marker"] = None
    axes.plot(curve.steps, values, label=curve.name, **look)
  _scale(axes, panel)
  axes.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
  axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
  axes.set_xlabel("step", loc="right", labelpad=2)
  if len(panel.curves) > 1 and not panel.curves[0].run:
    axes.legend(loc="best", handlelength=1.6)


def _look(curve: Curve) -> dict[str, Any]:
  """Returns colour and line style of a curve.

  Colours tell the curves of a single run apart, or several runs; then line
  styles tell their curves apart.
  """
  dashes = ("-", "-", (0, (4, 2)), (0, (1, 1.5)))
  return {"color": COLORS[curve.color % len(COLORS)], "ms": 4, "marker": "o",
          "lw": 1.6 if curve.style == 0 else 2.0,
          "ls": dashes[curve.style % 4 if curve.run else 0]}


def _legend_of_runs(figure: Figure, panels: Sequence[Panel]) -> None:
  """Explains colours and lines once, above the panels of several runs."""
  curves = [curve for panel in panels for curve in panel.curves if curve.run]
  if not curves:
    return
  entries: dict[str, Line2D] = {}
  for curve in curves:
    color = _look(curve)["color"]
    entries.setdefault(curve.run, Line2D([], [], color=color, lw=5))
  for curve in curves:
    look = _look(curve) | {"color": MUTED}
    if curve.style == 0:
      look["marker"] = None
    entries.setdefault(f" {curve.name}", Line2D([], [], **look))
  figure.legend(
      list(entries.values()), list(entries), loc="outside upper left",
      ncols=min(7, len(entries)), handlelength=1.8)


def _scale(axes: Axes, panel: Panel) -> None:
  """Sets the vertical scale and its labels."""
  values = np.concatenate([curve.values for curve in panel.curves])
  values = values[np.isfinite(values)]
  axes.yaxis.set_major_locator(ticker.MaxNLocator(7, steps=[1, 2, 5, 10]))
  if panel.form == "percent":
    low = float(values.min(initial=1.0))
    axes.set_ylim(max(0.0, low - 0.05 * (1.02 - low)), 1.02)
  elif panel.form == "count":
    axes.set_ylim(0, 1.15 * values.max(initial=1.0))
  elif panel.form == "number" and values.size and (
      0 < 30 * values.min() < values.max()):
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(
        ticker.LogLocator(base=10, subs=(1, 2, 5), numticks=20))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
  axes.yaxis.set_major_formatter(
      ticker.FuncFormatter(lambda value, _: format_value(value, panel.form)))


def format_value(value: float, form: str) -> str:
  """Returns a value as a tick or readout shows it."""
  if form == "percent":
    return f"{100 * value:.4g}%"
  if form == "count":
    return f"{value:,.0f}"
  if form == "rate":
    return f"{value:.3g}".replace("e-0", "e-")
  return f"{value:.3g}"


def smoothed(values: np.ndarray) -> np.ndarray:
  """Returns the centred running mean over about 1/20 of the run.

  Towards both ends the window shrinks and stays centred: no lag, no bend.
  """
  count = len(values)
  half = np.minimum(
      max(1, count // 40), np.minimum(np.arange(count), np.arange(count)[::-1]))
  good = np.isfinite(values)
  sums = np.concatenate([[0.0], np.cumsum(np.where(good, values, 0.0))])
  counts = np.concatenate([[0], np.cumsum(good)])
  first, last = np.arange(count) - half, np.arange(count) + half + 1
  finite = counts[last] - counts[first]
  return np.where(
      finite, (sums[last] - sums[first]) / np.maximum(finite, 1), np.nan)


def png(figure: Figure) -> bytes:
  """Returns the drawing as PNG, on white."""
  buffer = io.BytesIO()
  figure.savefig(buffer, format="png", dpi=130, facecolor="white")
  return buffer.getvalue()


def svg(figure: Figure) -> str:
  """Returns the drawing as an <svg> element for the page."""
  buffer = io.StringIO()
  # Text stays text and ids repeat: two reports of a run are equal.
  with matplotlib.rc_context(_STYLE):
    figure.savefig(buffer, format="svg", transparent=True,
                   metadata={"Date": None, "Creator": None})
  text = buffer.getvalue()
  text = text[text.index("<svg"):]
  names = {color: f"--c{i}" for i, color in enumerate(COLORS)}
  names |= {INK: "--ink", MUTED: "--muted", LINE: "--line"}
  for color, name in names.items():
    text = text.replace(color, f"var({name})")
  text = re.sub(r"'DejaVu Sans'[^;\"]*", "inherit", text)
  text = re.sub(r'<svg ([^>]*?)width="[^"]*pt"', r"<svg \1", text)
  return re.sub(r'<svg ([^>]*?)height="[^"]*pt"', r"<svg \1", text)


def readouts(figure: Figure, panels: Sequence[Panel]) -> list[dict[str, Any]]:
  """Returns where each panel and its points are in the SVG, for the pointer.

  Points are (x, y, step, value as text), x and y in the units of the viewBox.
  """
  height = figure.bbox.height * _DPI / figure.dpi
  places = []
  for axes, panel in zip(figure.axes, panels, strict=True):
    curves = []
    for curve in panel.curves:
      keep = np.flatnonzero(np.isfinite(curve.values))
      keep = keep[::-1][::max(1, len(keep) // _MOST_READOUTS)][::-1]
      pixels = axes.transData.transform(
          np.stack([curve.steps[keep], curve.values[keep]], 1))
      pixels *= _DPI / figure.dpi
      curves.append({
          "name": curve.label(), "run": curve.run,
          "color": curve.color % len(COLORS),
          "points": [
              [round(x, 1), round(height - y, 1), int(step),
               format_value(value, panel.form)]
              for (x, y), step, value in zip(
                  pixels.tolist(), curve.steps[keep], curve.values[keep],
                  strict=True)]})
    box = axes.get_window_extent()
    left, bottom, right, top = (
        v * _DPI / figure.dpi for v in (box.x0, box.y0, box.x1, box.y1))
    places.append({"box": [left, height - top, right, height - bottom],
                   "curves": curves})
  return places

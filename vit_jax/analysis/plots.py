"""The paper's pictures of what a network has learned, drawn from arrays.

Figure 7 (filters, position similarity, attention distance), figure 11
(attention distance) and figures 6 and 14 (attention rollout). Layers, heads,
rows and columns are counted from 0, as in the arrays.
"""

from collections.abc import Callable, Mapping, Sequence
import math
import os
from typing import Any

from jaxtyping import Float, UInt8
import matplotlib
from matplotlib import colormaps, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
import numpy as np

INK, MUTED, LINE = "#1d1d1c", "#6b6a66", "#e2e1dc"
_STYLE = {
    "font.size": 10, "font.family": "sans-serif", "text.color": INK,
    "axes.edgecolor": LINE, "axes.labelcolor": INK, "axes.titlesize": 11,
    "axes.spines.top": False, "axes.spines.right": False, "grid.color": LINE,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.major.size": 0,
    "ytick.major.size": 0, "legend.frameon": False, "legend.fontsize": 9}
_DPI = 150
_TITLE = {"fontsize": 12, "fontweight": "bold"}
FILTER_COLUMNS = 7  # of 28 filters
_FEW = 3  # pictures that figure 6 shows below each other

Draw = Callable[[FigureBase], None]


def save(figure: Figure, path: str | os.PathLike) -> None:
  """Writes a figure as PNG, on white."""
  with matplotlib.rc_context(_STYLE):
    figure.savefig(path, format="png", dpi=_DPI, facecolor="white")


def draw(panels: Sequence[tuple[Draw, float]], height: float = 4.4) -> Figure:
  """Returns panels side by side, each of its own width (in inches)."""
  widths = [width for _, width in panels]
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=(sum(widths), height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    parts = figure.subfigures(
        1, len(panels), width_ratios=widths, wspace=0.04, squeeze=False)
    for part, (panel, _) in zip(parts[0], panels, strict=True):
      panel(part)
  return figure


def filters(
    components: Float[np.ndarray, "k y x c"],
    share: Float[np.ndarray, " k"], what: str,
) -> Draw:
  """Returns the panel of principal components (figure 7, left).

  Args:
    components: see `embeddings.filter_components`; three channels are shown
      as colours, each component over its largest value, grey being zero.
    share: of the variance that each explains.
    what: name of the filters, for the title.
  """

  def panel(part: FigureBase) -> None:
    count = len(components)
    rows = -(-count // FILTER_COLUMNS)
    part.suptitle(
        f"{what}\nfirst {count} principal components, "
        f"{share.sum():.0%} of the variance", **_TITLE)
    high, wide = components.shape[1:3]
    gap = max(1, round(0.12 * max(high, wide)))
    sheet = np.ones((rows * (high + gap) - gap,
                     FILTER_COLUMNS * (wide + gap) - gap, 3))
    for i, component in enumerate(components):
      y, x = np.multiply(divmod(i, FILTER_COLUMNS), (high + gap, wide + gap))
      peak = max(float(np.abs(component).max()), 1e-12)
      shown = 0.5 + component / (2 * peak)
      if shown.shape[-1] != 3:
        shown = shown.mean(axis=-1, keepdims=True)
      sheet[y:y + high, x:x + wide] = shown
    ax = part.subplots()
    ax.imshow(sheet, interpolation="nearest")
    ax.axis("off")

  return panel


def similarity(
    similar: Float[np.ndarray, "rows cols rows cols"], where: str = "stem"
) -> Draw:
  """Returns the panel of position similarities (figure 7, centre; 10).

  The tile in a row and column shows how similar that patch's embedding is to
  those of all patches, laid out as in the picture.
  """

  def panel(part: FigureBase) -> None:
    place = "" if where == "stem" else f" ({where})"
    part.suptitle(f"Position embedding similarity{place}", **_TITLE)
    ax = part.subplots()
    rows, cols = similar.shape[:2]
    # Between the tiles, a gap that stays visible when there are many.
    gap = max(1, round(0.1 * max(rows, cols)))
    tall, wide = rows + gap, cols + gap
    sheet = np.full((rows * tall - gap, cols * wide - gap), np.nan)
    for i in range(rows):
      for j in range(cols):
        sheet[i * tall:i * tall + rows, j * wide:j * wide + cols] = (
            similar[i, j])
    shown = ax.imshow(sheet, vmin=-1, vmax=1, cmap="viridis",
                      interpolation="nearest")
    ax.spines[:].set_visible(False)
    for axis, count, step in ((ax.yaxis, rows, tall), (ax.xaxis, cols, wide)):
      every = -(-count // 14)
      labels = range(0, count, every)
      axis.set_ticks([i * step + (step - gap - 1) / 2 for i in labels],
                     [str(i) for i in labels])
    ax.set_xlabel("input patch column")
    ax.set_ylabel("input patch row")
    bar = part.colorbar(shown, ax=ax, shrink=0.82, aspect=24)
    bar.set_label("cosine similarity")
    bar.outline.set_visible(False)

  return panel


def distance(
    far: Float[np.ndarray, "layers heads"], title: str,
    most: float | None = None,
) -> Draw:
  """Returns the panel of attention distances (figure 7, right; 11).

  Args:
    far: mean attention distance of every head of every layer, in pixels.
    title: such as the model's name.
    most: upper end of the axis.
  """

  def panel(part: FigureBase) -> None:
    part.suptitle(title, **_TITLE)
    ax: Axes = part.subplots()
    layers, heads = far.shape
    colors = colormaps["turbo"](np.linspace(0.05, 0.95, max(heads, 2)))
    ax.plot(np.arange(layers), far.mean(axis=1), color=MUTED, lw=1.2,
            ls=(0, (4, 3)), label="mean", zorder=1)
    for head in range(heads):
      ax.scatter(np.arange(layers), far[:, head], s=26, color=colors[head],
                 edgecolor="white", lw=0.4, label=f"head {head}", zorder=2)
    top = most or 1.08 * float(far.max())
    ax.set_ylim(0, top if top > 0 else 1)
    ax.set_xlim(-0.5, layers - 0.5)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(12, integer=True))
    ax.set_xlabel("network depth (layer)")
    ax.set_ylabel("mean attention distance (pixels)")
    ax.grid(axis="y")
    ax.set_axisbelow(True)
    if heads <= 16:
      ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5),
                handletextpad=0.2, borderaxespad=0.2, labelspacing=0.35)

  return panel


def rollout(
    images: UInt8[np.ndarray, "n h w 3"], masks: Float[np.ndarray, "n h w"],
    labels: Sequence[str],
) -> Figure:
  """Returns pictures beside what the network attends to (figures 6 and 14).

  Up to three pictures below each other, as in figure 6, else pairs in four
  columns.

  Args:
    images: as the network saw them.
    masks: 0 to 1, see `attention.rollout_mask`.
    labels: one a picture, such as what was predicted.
  """
  count = len(images)
  columns = 1 if count <= _FEW else min(4, count)
  rows = -(-count // columns)
  ratio = images.shape[1] / images.shape[2]
  wide = (2.0 if columns == 1 else 1.4) * min(1.6, max(1.0, 1 / ratio))
  tall, label, gap, top = wide * ratio, 0.28, 0.06, 0.36  # inches
  across = columns * (2 * wide + gap) + (columns + 1) * 4 * gap
  down = top + rows * (tall + label) + gap
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=(across, down))
    for i in range(count):
      row, column = divmod(i, columns)
      x = 4 * gap + column * (2 * wide + 5 * gap)
      y = down - top - row * (tall + label) - tall
      left, right = (
          figure.add_axes((at / across, y / down, wide / across, tall / down))
          for at in (x, x + wide + gap))
      _pair((left, right), images[i], masks[i], labels[i], titles=row == 0)
  return figure


def _pair(
    axes: tuple[Axes, Axes], image: np.ndarray, mask: np.ndarray, label: str,
    titles: bool,
) -> None:
  """Draws a picture, and the picture times its mask."""
  masked = image / 255 * mask[..., None]
  # Pixels of tiny pictures are shown as they are, not blurred.
  smooth = "nearest" if max(mask.shape) <= 64 else "auto"
  for ax, shown, name in zip(
      axes, (image, masked), ("Input", "Attention"), strict=True):
    ax.imshow(shown, interpolation=smooth, aspect="auto", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    if titles:
      ax.set_title(name, pad=5)
  if label:
    axes[0].set_xlabel(label, loc="left", fontsize=9, color=MUTED, labelpad=3)


def learned(
    components: tuple[np.ndarray, np.ndarray], what: str,
    similar: Mapping[str, np.ndarray], far: np.ndarray, title: str,
) -> Figure:
  """Returns figure 7: filters, position similarity, attention distance.

  Args:
    components: what `filters` takes.
    what: the filters' name.
    similar: similarities by place; the first is shown, none leaves it out.
    far: attention distances.
    title: of the distances, such as the model's name.
  """
  panels: list[tuple[Draw, Any]] = [(filters(*components, what), 5.2)]
  for where, values in list(similar.items())[:1]:
    rows, cols = values.shape[:2]
    wide = 5.2 * min(1.6, max(0.7, math.sqrt(cols / rows)))
    panels.append((similarity(values, where), wide))
  panels.append((distance(far, title), 5.4))
  return draw(panels)

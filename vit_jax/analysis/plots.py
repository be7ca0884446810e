"""The paper's figures of what a network has learned, drawn from arrays.

Figure 7 (filters, position similarity, attention distance), figure 11
(attention distance) and figures 6 and 14 (attention rollout). Layers, heads,
rows and columns are counted from 0, as in the arrays.
"""

from collections.abc import Callable, Mapping, Sequence
import math
import os
from typing import TYPE_CHECKING, Any

from jaxtyping import Float, UInt8
import matplotlib
from matplotlib import colormaps, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.layout_engine import ConstrainedLayoutEngine
import numpy as np

if TYPE_CHECKING:
  from matplotlib.typing import RcKeyType

INK, MUTED, LINE = "#1d1d1c", "#6b6a66", "#e2e1dc"
_STYLE: "dict[RcKeyType, Any]" = {
    "font.size": 10, "font.family": "sans-serif", "text.color": INK,
    "axes.edgecolor": LINE, "axes.labelcolor": INK, "axes.titlesize": 11,
    "axes.spines.top": False, "axes.spines.right": False, "grid.color": LINE,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.major.size": 0,
    "ytick.major.size": 0, "legend.frameon": False, "legend.fontsize": 9,
    "text.parse_math": False}  # Names of classes and files may have $ in them.
_DPI = 150
_TITLE = {"fontsize": 12, "fontweight": "bold"}
FILTER_COLUMNS = 7  # of 28 filters
_ONE_COLUMN = 3  # images that figure 6 shows in one column

Panel = Callable[[FigureBase], None]  # draws into a part of a figure


def save_png(figure: Figure, path: str | os.PathLike) -> None:
  """Writes a figure as PNG, on white."""
  with matplotlib.rc_context(_STYLE):
    figure.savefig(path, format="png", dpi=_DPI, facecolor="white")


def side_by_side(
    panels: Sequence[tuple[Panel, float]], height: float = 4.4
) -> Figure:
  """Returns a figure of panels in a row, each with its width in inches."""
  widths = [width for _, width in panels]
  with matplotlib.rc_context(_STYLE):
    figure = Figure(
        figsize=(sum(widths), height),
        layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
    parts = figure.subfigures(
        1, len(panels), width_ratios=widths, wspace=0.04, squeeze=False)
    for part, (panel, _) in zip(parts[0], panels, strict=True):
      panel(part)
  return figure


def filter_panel(
    components: Float[np.ndarray, "k y x c"],
    share: Float[np.ndarray, " k"], title: str,
) -> Panel:
  """Returns the panel of principal components (figure 7, left).

  Args:
    components: see `embeddings.filter_components`; three channels are shown
      as colours, each component divided by its largest value, zero as grey.
    share: of the variance that each component explains.
    title: name of the filters.
  """

  def panel(part: FigureBase) -> None:
    count = len(components)
    rows = -(-count // FILTER_COLUMNS)
    part.suptitle(
        f"{title}\nfirst {count} principal components, "
        f"{share.sum():.0%} of the variance", **_TITLE)
    height, width = components.shape[1:3]
    gap = max(1, round(0.12 * max(height, width)))
    sheet = np.ones((rows * (height + gap) - gap,
                     FILTER_COLUMNS * (width + gap) - gap, 3))
    for i, component in enumerate(components):
      row, column = divmod(i, FILTER_COLUMNS)
      y, x = row * (height + gap), column * (width + gap)
      peak = max(float(np.abs(component).max()), 1e-12)
      tile = 0.5 + component / (2 * peak)
      if tile.shape[-1] != 3:
        tile = tile.mean(axis=-1, keepdims=True)
      sheet[y:y + height, x:x + width] = tile
    ax = part.subplots()
    ax.imshow(sheet, interpolation="nearest")
    ax.axis("off")

  return panel


def similarity_panel(
    similarity: Float[np.ndarray, "rows cols rows cols"], place: str = "stem"
) -> Panel:
  """Returns the panel of position similarities (figure 7, centre; 10).

  The tile in a row and column shows how similar that patch's embedding is to
  those of all patches, laid out as in the image.
  """

  def panel(part: FigureBase) -> None:
    where = "" if place == "stem" else f" ({place})"
    part.suptitle(f"Position embedding similarity{where}", **_TITLE)
    ax = part.subplots()
    rows, cols = similarity.shape[:2]
    # The gap between the tiles stays visible when there are many.
    gap = max(1, round(0.1 * max(rows, cols)))
    height, width = rows + gap, cols + gap
    sheet = np.full((rows * height - gap, cols * width - gap), np.nan)
    for i in range(rows):
      for j in range(cols):
        sheet[i * height:i * height + rows, j * width:j * width + cols] = (
            similarity[i, j])
    drawn = ax.imshow(sheet, vmin=-1, vmax=1, cmap="viridis",
                      interpolation="nearest")
    ax.spines[:].set_visible(False)
    for axis, count, step in (
        (ax.yaxis, rows, height), (ax.xaxis, cols, width)):
      every = -(-count // 14)
      labels = range(0, count, every)
      axis.set_ticks([i * step + (step - gap - 1) / 2 for i in labels],
                     [str(i) for i in labels])
    ax.set_xlabel("input patch column")
    ax.set_ylabel("input patch row")
    bar = part.colorbar(drawn, ax=ax, shrink=0.82, aspect=24)
    bar.set_label("cosine similarity")
    bar.outline.set_visible(False)

  return panel


def distance_panel(
    distance: Float[np.ndarray, "layers heads"], title: str
) -> Panel:
  """Returns the panel of attention distances (figure 7, right; 11).

  Args:
    distance: mean attention distance of every head of every layer, in pixels.
    title: such as the model's name.
  """

  def panel(part: FigureBase) -> None:
    part.suptitle(title, **_TITLE)
    ax: Axes = part.subplots()
    layers, heads = distance.shape
    colors = colormaps["turbo"](np.linspace(0.05, 0.95, max(heads, 2)))
    ax.plot(np.arange(layers), distance.mean(axis=1), color=MUTED, lw=1.2,
            ls=(0, (4, 3)), label="mean", zorder=1)
    for head in range(heads):
      ax.scatter(np.arange(layers), distance[:, head], s=26, color=colors[head],
                 edgecolor="white", lw=0.4, label=f"head {head}", zorder=2)
    top = 1.08 * float(distance.max())
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


def rollout_figure(
    images: UInt8[np.ndarray, "n h w 3"], masks: Float[np.ndarray, "n h w"],
    labels: Sequence[str],
) -> Figure:
  """Returns images beside what the network attends to (figures 6 and 14).

  Up to three images in one column, as in figure 6, more in four columns.

  Args:
    images: as the network saw them.
    masks: 0 to 1, see `attention.rollout_mask`.
    labels: one per image, such as the predicted class.
  """
  count = len(images)
  columns = 1 if count <= _ONE_COLUMN else min(4, count)
  rows = -(-count // columns)
  ratio = images.shape[1] / images.shape[2]
  # In inches: an image, the line below it, gaps, and the whole figure.
  width = (2.0 if columns == 1 else 1.4) * min(1.6, max(1.0, 1 / ratio))
  height, label, gap, top = width * ratio, 0.28, 0.06, 0.36
  full_width = columns * (2 * width + gap) + (columns + 1) * 4 * gap
  full_height = top + rows * (height + label) + gap
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=(full_width, full_height))
    for i in range(count):
      row, column = divmod(i, columns)
      x = 4 * gap + column * (2 * width + 5 * gap)
      y = full_height - top - row * (height + label) - height
      left, right = (
          figure.add_axes((
              offset / full_width, y / full_height, width / full_width,
              height / full_height))
          for offset in (x, x + width + gap))
      _draw_pair((left, right), images[i], masks[i], labels[i], titles=row == 0)
  return figure


def _draw_pair(
    axes: tuple[Axes, Axes], image: np.ndarray, mask: np.ndarray, label: str,
    titles: bool,
) -> None:
  """Draws an image, and the image times its mask."""
  masked = image / 255 * mask[..., None]
  # The pixels of tiny images stay sharp.
  interpolation = "nearest" if max(mask.shape) <= 64 else "auto"
  for ax, pixels, name in zip(
      axes, (image, masked), ("Input", "Attention"), strict=True):
    ax.imshow(
        pixels, interpolation=interpolation, aspect="auto", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    if titles:
      ax.set_title(name, pad=5)
  if label:
    axes[0].set_xlabel(label, loc="left", fontsize=9, color=MUTED, labelpad=3)


def learned_figure(
    components: tuple[np.ndarray, np.ndarray], filters: str,
    similarities: Mapping[str, np.ndarray], distance: np.ndarray, title: str,
) -> Figure:
  """Returns figure 7: filters, position similarity, attention distance.

  Args:
    components: of the filters, and their shares of the variance.
    filters: name of the filters.
    similarities: of positions, by place; the first is shown, if there is one.
    distance: mean attention distances.
    title: of the distances, such as the model's name.
  """
  panels: list[tuple[Panel, float]] = [
      (filter_panel(*components, filters), 5.2)]
  for place, similarity in list(similarities.items())[:1]:
    rows, cols = similarity.shape[:2]
    width = 5.2 * min(1.6, max(0.7, math.sqrt(cols / rows)))
    panels.append((similarity_panel(similarity, place), width))
  panels.append((distance_panel(distance, title), 5.4))
  return side_by_side(panels)

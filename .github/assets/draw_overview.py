"""Draws the figure of README.md, for light and dark pages.

    python .github/assets/draw_overview.py
"""

import dataclasses
import pathlib

import cv2
import matplotlib

matplotlib.use("Agg")

from matplotlib import patches as shapes  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from sklearn import datasets  # noqa: E402

PATCH = 4


@dataclasses.dataclass(frozen=True)
class Colours:
  """The colours of one figure."""

  page: str
  ink: str
  soft: str
  warm: str
  warm_fill: str
  cool: str
  cool_fill: str
  bar: str


LIGHT = Colours(
    page="white", ink="#22303c", soft="#6d7b88", warm="#e4572e",
    warm_fill="#fdf1ed", cool="#2a7f9e", cool_fill="#eef6f9", bar="#cfd6dc")
DARK = Colours(
    page="none", ink="#e2e8ee", soft="#98a5b3", warm="#ff7a52",
    warm_fill="#33201a", cool="#4fb0d1", cool_fill="#15262d", bar="#3d4752")


def digit(size: int) -> np.ndarray:
  """Returns a handwritten digit at size x size, values 0..1."""
  grey = datasets.load_digits().images[3] / 16
  return np.clip(cv2.resize(grey.astype(np.float32), (size, size)), 0, 1)


def show(ax: plt.Axes, image: np.ndarray, x: float, y: float,
         side: float) -> None:
  """Draws an image with its lower left corner at (x, y)."""
  ax.imshow(1 - image, extent=(x, x + side, y, y + side), cmap="gray",
            vmin=0, vmax=1, zorder=2, interpolation="nearest")


def grid(ax: plt.Axes, colours: Colours, x: float, y: float, side: float,
         cells: int) -> None:
  """Draws the lines between patches."""
  for i in range(cells + 1):
    at = i * side / cells
    ax.plot([x + at] * 2, [y, y + side], color=colours.cool, lw=0.9, zorder=3)
    ax.plot([x, x + side], [y + at] * 2, color=colours.cool, lw=0.9, zorder=3)


def box(ax: plt.Axes, ink: str, x: float, y: float, w: float, h: float,
        text: str, color: str, fill: str) -> None:
  """Draws a rounded box with a text in its middle."""
  ax.add_patch(shapes.FancyBboxPatch(
      (x, y), w, h, boxstyle="round,pad=0,rounding_size=0.12", lw=1.4,
      edgecolor=color, facecolor=fill, zorder=2))
  ax.text(x + w / 2, y + h / 2, text, ha="center", va="center", fontsize=9.5,
          color=ink, zorder=3, linespacing=1.5)


def arrow(ax: plt.Axes, colour: str, x0: float, x1: float, y: float) -> None:
  """Draws an arrow to the right."""
  ax.annotate("", (x1, y), (x0, y), arrowprops=dict(
      arrowstyle="-|>", color=colour, lw=1.3, shrinkA=0, shrinkB=0))


def tokens(ax: plt.Axes, colours: Colours, image: np.ndarray, x: float,
           y: float) -> float:
  """Draws the class token and all patches in rows; returns the right end."""
  cells = image.shape[0] // PATCH
  side = 0.36 * 4 / cells
  step = side * 1.24
  top = y + (cells - 1) * step / 2 - side / 2
  ax.add_patch(shapes.Rectangle(
      (x, y - side / 2), side, side, facecolor=colours.warm, edgecolor="none",
      zorder=2))
  ax.text(x + side / 2, y + 0.36, "class\ntoken", fontsize=7.5, ha="center",
          va="bottom", color=colours.warm)
  left = x + step * 1.35
  for row in range(cells):
    for col in range(cells):
      part = image[row * PATCH:(row + 1) * PATCH,
                   col * PATCH:(col + 1) * PATCH]
      px, py = left + col * step, top - row * step
      show(ax, part, px, py, side)
      ax.add_patch(shapes.Rectangle(
          (px, py), side, side, fill=False, edgecolor=colours.cool, lw=0.7,
          zorder=3))
  return left + cells * step


def row(ax: plt.Axes, colours: Colours, y: float, size: int, title: str,
        below: str, optimiser: str, scores: np.ndarray) -> None:
  """Draws one line of the figure, around the height y."""
  image, side = digit(size), 1.9 if size == 24 else 1.55
  show(ax, image, 0.1, y - side / 2, side)
  grid(ax, colours, 0.1, y - side / 2, side, size // PATCH)
  ax.text(0.1, y + side / 2 + 0.14, title, fontsize=10, weight="bold",
          color=colours.ink)
  ax.text(0.1, y - side / 2 - 0.12, below, fontsize=8,
          color=colours.soft, va="top")
  arrow(ax, colours.soft, 2.15, 2.6, y)
  end = tokens(ax, colours, image, 2.75, y)
  ax.text((2.75 + end) / 2 + 0.2, y - 1.15,
          f"{(size // PATCH) ** 2} patches + position", fontsize=8,
          color=colours.soft, ha="center", va="top")
  arrow(ax, colours.soft, end + 0.1, 5.75, y)
  box(ax, colours.ink, 5.85, y - 0.75, 2.35, 1.5,
      "L blocks of the encoder\n$x + \\mathrm{MSA}(\\mathrm{LN}\\;x)$\n"
      "$x + \\mathrm{MLP}(\\mathrm{LN}\\;x)$", colours.cool, colours.cool_fill)
  ax.text(7.02, y - 0.87, optimiser, fontsize=8, color=colours.soft,
          ha="center", va="top")
  arrow(ax, colours.soft, 8.3, 8.75, y)
  box(ax, colours.ink, 8.85, y - 0.36, 0.8, 0.72, "head", colours.warm,
      colours.warm_fill)
  arrow(ax, colours.soft, 9.75, 10.15, y)
  for k, score in enumerate(scores):
    base = y + 0.72 - k * 0.16
    ax.text(10.3, base, str(k), fontsize=7, va="center", ha="right",
            color=colours.ink)
    ax.add_patch(shapes.Rectangle(
        (10.36, base - 0.05), 0.05 + 1.1 * score, 0.1, lw=0,
        facecolor=colours.warm if k == 3 else colours.bar))


def draw(colours: Colours, name: str) -> None:
  """Writes the figure beside this file."""
  fig, ax = plt.subplots(figsize=(11.6, 5.1), dpi=170)
  ax.set_xlim(0, 11.6)
  ax.set_ylim(-1.45, 4.0)
  ax.set_aspect("equal")
  ax.axis("off")
  flat = np.full(10, 0.02)
  row(ax, colours, 2.6, 16, "Pre-train", "16 x 16 pixels, 4 x 4 per patch",
      "Adam, from scratch", np.where(np.arange(10) == 3, 0.8, flat))
  row(ax, colours, -0.1, 24, "Fine-tune", "24 x 24 pixels, same patches",
      "SGD, from those weights", np.where(np.arange(10) == 3, 0.95, flat))
  ax.annotate("", (7.02, 0.72), (7.02, 1.45), arrowprops=dict(
      arrowstyle="-|>", color=colours.ink, lw=1.3))
  ax.text(7.12, 1.12, "model.npz:  position embeddings resized",
          fontsize=8.5, color=colours.ink, va="center")
  path = pathlib.Path(__file__).with_name(name)
  fig.savefig(path, bbox_inches="tight", pad_inches=0.08,
              facecolor=colours.page)


if __name__ == "__main__":
  draw(LIGHT, "overview.png")
  draw(DARK, "overview_dark.png")

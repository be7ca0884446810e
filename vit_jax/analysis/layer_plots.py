"""The figure of `vit_jax.analysis.layers`, drawn from its numbers."""

from collections.abc import Sequence

from jaxtyping import Float
from matplotlib.figure import Figure, FigureBase
import numpy as np

from vit_jax.analysis import plots

_COLORS = ("#1f77b4", "#d62728")
_MOST_TICKS = 14


def alike_panel(
    alike: Float[np.ndarray, "rows cols"], rows: Sequence[str],
    cols: Sequence[str], title: str,
) -> plots.Panel:
  """Returns the panel of how alike two networks' layers are."""

  def panel(part: FigureBase) -> None:
    part.suptitle(title, fontsize=11, fontweight="bold")
    ax = part.subplots()
    drawn = ax.imshow(alike, vmin=0, vmax=1, cmap="magma", origin="lower")
    for set_ticks, names, turned in (
        (ax.set_xticks, cols, 90), (ax.set_yticks, rows, 0)):
      every = -(-len(names) // _MOST_TICKS)
      set_ticks(range(0, len(names), every), names[::every], rotation=turned,
                fontsize=8)
    part.colorbar(drawn, ax=ax, shrink=0.7)

  return panel


def place_panel(
    accuracies: Sequence[Sequence[float]], chance: float,
    names: Sequence[str],
) -> plots.Panel:
  """Returns the panel of how well places can be read off, by depth."""

  def panel(part: FigureBase) -> None:
    part.suptitle("Place read off a feature", fontsize=11, fontweight="bold")
    ax = part.subplots()
    for values, name, color in zip(accuracies, names, _COLORS, strict=True):
      ax.plot(np.linspace(0, 1, len(values)), values, marker="o", label=name,
              color=color)
    ax.axhline(chance, color=plots.MUTED, linestyle=":", label="guessing")
    ax.set_ylim(0, 1.03)
    ax.set_xlabel("depth, from the first layer to the last")
    ax.set_ylabel("accuracy")
    ax.grid(axis="y")
    ax.legend()

  return panel


def layers_figure(
    names: Sequence[str], layers: Sequence[Sequence[str]],
    alike: Sequence[Float[np.ndarray, "_ _"]],
    accuracies: Sequence[Sequence[float]], chance: float,
) -> Figure:
  """Returns three panels of similarities and one of places.

  Args:
    names: of the networks.
    layers: their layers' names.
    alike: CKA of the first with itself, the second with itself, the first (up)
      with the second (to the right).
    accuracies: of places, by layer.
    chance: accuracy of guessing.
  """
  pairs = ((0, 0), (1, 1), (0, 1))
  panels = [
      (alike_panel(values, layers[i], layers[j],
                   names[i] if i == j else f"{names[i]} and {names[j]}"), 4.2)
      for (i, j), values in zip(pairs, alike, strict=True)]
  return plots.side_by_side(
      [*panels, (place_panel(accuracies, chance, names), 4.6)], height=4.2)

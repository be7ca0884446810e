"""The look that the figures of several modules share."""

from matplotlib.axes import Axes


def plain(axes: Axes) -> None:
  """Leaves a faint grid behind the data, and no frame at the top and right."""
  axes.grid(alpha=0.25)
  axes.set_axisbelow(True)
  axes.spines[["top", "right"]].set_visible(False)

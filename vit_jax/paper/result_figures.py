"""The figures of our own runs: every run, and each row's mean."""

from collections.abc import Mapping
import hashlib
import json
import pathlib
from typing import Any

from vit_jax.paper.claim_pages import has_figure
from vit_jax.paper.effects import margin
from vit_jax.paper.tables import read_results
from vit_jax.report.axes import plain

_MEAN, _RUN = "#1f77b4", "#9ecae1"
# The PNG's text that says of which numbers it is.
DIGEST = "Source"


def digest(result: Mapping[str, Any]) -> str:
  """Returns what a result's figure says of the numbers that it shows."""
  text = json.dumps([result["scores"], result.get("by_seed")], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def outdated(folder: str | pathlib.Path) -> list[str]:
  """Returns the figures of several seeds that show other numbers, or nothing.

  Drawn again only then: another matplotlib draws other bytes.
  """
  return [str(path) for path, result in _figures(folder).items()
          if not path.exists() or digest(result).encode() not in
          path.read_bytes()]


def write_outdated(folder: str | pathlib.Path) -> None:
  """Draws those as NAME.png."""
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  figures = _figures(folder)
  for name in outdated(folder):
    _draw(figures[pathlib.Path(name)], pathlib.Path(name))


def _figures(
    folder: str | pathlib.Path) -> dict[pathlib.Path, dict[str, Any]]:
  """Returns the results that have a figure, by its path."""
  return {pathlib.Path(folder) / f"{name}.png": result
          for name, result in read_results().items() if has_figure(result)}


def _draw(result: Mapping[str, Any], path: pathlib.Path) -> None:
  import matplotlib
  matplotlib.use("Agg")
  from matplotlib import pyplot as plt

  scores = result["scores"]
  figure, axes = plt.subplots(
      figsize=(6.5, 0.9 + 0.34 * len(scores)), dpi=150)
  for y, (row, score) in enumerate(scores.items()):
    runs = result.get("by_seed", {}).get(row, {}).values()
    axes.plot([100 * run for run in runs], [y] * len(runs), "o", color=_RUN,
              markersize=6)
    axes.errorbar(100 * score["mean"], y, xerr=margin(result, [row]),
                  fmt="o", markersize=4, color=_MEAN, capsize=3)
  axes.set_yticks(range(len(scores)), list(scores))
  axes.invert_yaxis()
  axes.set_xlabel(f"test accuracy (%), {result['seeds']} seeds; bars: 95 % "
                  "interval of the mean", fontsize=9)
  plain(axes)
  figure.savefig(path, bbox_inches="tight", metadata={DIGEST: digest(result)})
  plt.close(figure)

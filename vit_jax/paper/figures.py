"""The paper's figures that follow from its tables, redrawn."""

from collections.abc import Callable, Mapping
import pathlib
from typing import Any

from vit_jax.models import names
from vit_jax.paper.tables import average_5, read_table, vtab_groups
from vit_jax.report.axes import plain

FAMILIES = {names.VIT: ("#1f77b4", "o"), names.RESNET: ("#7f7f7f", "s"),
            names.HYBRID: ("#ff7f0e", "^")}
MODELS = {"B/32": "#9ecae1", "B/16": "#6baed6", "L/32": "#3182bd",
          "L/16": "#08519c", "H/14": "#041f3d"}


def figure_2(plt: Any) -> Any:
  """VTAB by groups, from Table 9."""
  groups = vtab_groups()
  figure, panels = plt.subplots(1, 4, figsize=(10, 3.4), dpi=150)
  titles = {"all": "VTAB (19 tasks)", "natural": "Natural (7)",
            "specialized": "Specialized (4)", "structured": "Structured (8)"}
  for axes, (group, title) in zip(panels, titles.items(), strict=True):
    values = [means[group] for means in groups.values()]
    bars = axes.bar(range(len(values)), values,
                    color=["#041f3d", "#08519c", "#6baed6"], width=0.65)
    axes.bar_label(bars, [f"{v:.1f}" for v in values], fontsize=8, padding=2)
    axes.set_title(title, fontsize=10)
    axes.set_ylim(min(values) - 5, max(values) + 3)
    axes.set_xticks(range(len(values)), [
        name.replace(" ", "\n") for name in groups], fontsize=8)
    plain(axes)
  panels[0].set_ylabel("accuracy (%)")
  figure.suptitle("Figure 2: VTAB-1k by group of tasks (means of Table 9)",
                  fontsize=11)
  return figure


def figure_3(plt: Any) -> Any:
  """Transfer to ImageNet by pre-training set, from Table 5."""
  figure, axes = plt.subplots(figsize=(6.5, 4.2), dpi=150)
  places = {"ImageNet": 0, "ImageNet-21k": 1, "JFT-300M": 2}
  rows = [r for r in read_table(5) if r["task"] == "ImageNet"]
  for model, colour in MODELS.items():
    mine = [(places[r["pretrained"]], r["accuracy"]) for r in rows
            if r["model"] == model]
    axes.plot(*zip(*sorted(mine), strict=True), marker="o", label=model,
              color=colour, linewidth=1.8)
  axes.set_xticks(list(places.values()), [
      "ImageNet\n1.3 M", "ImageNet-21k\n14 M", "JFT-300M\n303 M"])
  axes.set_xlabel("pre-training data")
  axes.set_ylabel("ImageNet top-1 (%)")
  axes.set_title("Figure 3: large models need large data (Table 5)",
                 fontsize=11, loc="left")
  axes.legend(frameon=False)
  plain(axes)
  return figure


def figure_5(plt: Any) -> Any:
  """Accuracy against the cost of pre-training, from Table 6."""
  figure, panels = plt.subplots(1, 2, figsize=(10.5, 4.4), dpi=150)
  rows = read_table(6)
  scores: Mapping[str, Callable[[Any], float]] = {
      "Average of 5 data sets": average_5,
      "ImageNet": lambda row: row["imagenet"]}
  for axes, (title, score) in zip(panels, scores.items(), strict=True):
    for name, (colour, marker) in FAMILIES.items():
      mine = [(r["exaflops"], score(r), r) for r in rows
              if names.parse(r["model"]).family == name]
      axes.scatter([x for x, *_ in mine], [y for _, y, _ in mine], s=46,
                   color=colour, marker=marker, label=name, zorder=3)
      for x, y, row in mine:
        # Hybrids and the small ViTs lie above their neighbours.
        below = name != names.HYBRID and row["model"] not in ("B/32", "L/32")
        left = not below and row["model"] != "R50+B/16"
        axes.annotate(
            row["model"], (x, y), fontsize=6.5,
            textcoords="offset points", color=colour,
            xytext=(-4 if left else 5, -9 if below else 6),
            ha="right" if left else "left")
    axes.set_xlim(32, 7500)
    axes.set_xscale("log")
    axes.set_xticks([100, 1000], ["100", "1,000"])
    axes.set_xlabel("pre-training compute (exaFLOPs)")
    axes.set_title(title, fontsize=10)
    plain(axes)
  panels[0].set_ylabel("transfer accuracy (%)")
  panels[0].legend(frameon=False, loc="lower right")
  figure.suptitle("Figure 5: accuracy against the cost of pre-training "
                  "(Table 6)", fontsize=11)
  return figure


FIGURES = {"figure2": figure_2, "figure3": figure_3, "figure5": figure_5}


def write_figures(folder: str) -> list[str]:
  """Draws every figure as FOLDER/figureN.png and returns the paths."""
  import matplotlib
  matplotlib.use("Agg")
  from matplotlib import pyplot as plt

  place = pathlib.Path(folder)
  place.mkdir(parents=True, exist_ok=True)
  paths = []
  for name, draw in FIGURES.items():
    figure = draw(plt)
    figure.tight_layout()
    figure.savefig(place / f"{name}.png")
    plt.close(figure)
    paths.append(str(place / f"{name}.png"))
  return paths

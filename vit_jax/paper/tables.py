"""Reads the paper's tables, stored beside this file as CSV.

Table 1 (variants), 2 (state of the art), 5 and 6 (pre-training sets, JFT
scaling), 7 (Adam against SGD), 8 (position embeddings) and 9 (VTAB), as printed
in arXiv 2010.11929v2. Tables 3 and 4 are configs/pretrain.py and vit.py.
"""

import csv
from importlib import resources
import json
from typing import Any

import numpy as np

# Table 9's columns by VTAB's groups.
VTAB_GROUPS = {
    "natural": ("caltech", "c100", "dtd", "flwr", "pets", "sun", "svhn"),
    "specialized": ("caml", "euro", "res45", "retin"),
    "structured": ("clvc", "clvd", "dmlab", "dloc", "dori", "kitti", "sazi",
                   "sele"),
}
# Table 6's five data sets that Figure 5 averages.
AVERAGE_5 = ("imagenet", "cifar10", "cifar100", "pets", "flowers")


def read_table(number: int) -> list[dict[str, Any]]:
  """Returns the rows of a table; numbers are parsed, empty cells are None."""
  text = (resources.files("vit_jax.paper") / f"table{number}.csv").read_text(
      encoding="utf-8")
  return [{key: _number(value) for key, value in row.items()}
          for row in csv.DictReader(text.splitlines())]


def read_results() -> dict[str, dict[str, Any]]:
  """Returns the results of our own runs, by the name of the experiment.

  results/NAME.json is written by `python -m vit_jax study --record=...`.
  """
  folder = resources.files("vit_jax.paper") / "results"
  results = {}
  for file in sorted(folder.iterdir(), key=lambda file: file.name):
    if file.name.endswith(".json"):
      results[file.name.removesuffix(".json")] = json.loads(
          file.read_text(encoding="utf-8"))
  return results


def vtab_groups() -> dict[str, dict[str, float]]:
  """Returns model -> group -> mean accuracy in %, and "all" (Figure 2)."""
  groups = {}
  for row in read_table(9):
    means = {group: float(np.mean([row[task] for task in tasks]))
             for group, tasks in VTAB_GROUPS.items()}
    every = [row[t] for tasks in VTAB_GROUPS.values() for t in tasks]
    groups[row["model"]] = {"all": float(np.mean(every))} | means
  return groups


def average_5(row: dict[str, Any]) -> float:
  """Returns the mean transfer accuracy in % of a row of Table 6 (Figure 5)."""
  return float(np.mean([row[task] for task in AVERAGE_5]))


def _number(text: str) -> Any:
  if not text:
    return None
  try:
    return int(text)
  except ValueError:
    pass
  try:
    return float(text)
  except ValueError:
    return text

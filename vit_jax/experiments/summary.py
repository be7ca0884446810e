"""What is reported of several runs of one kind: mean and standard deviation."""

from collections.abc import Iterable
from typing import TypedDict

import numpy as np


class Summary(TypedDict):
  """Mean of a score over runs.

  Attributes:
    mean: over the runs.
    std: sample standard deviation, None of a single run.
    runs: their number.
  """

  mean: float
  std: float | None
  runs: int


def summarise(values: Iterable[float]) -> Summary:
  """Summarises at least one value."""
  array = np.fromiter(values, np.float64)
  return Summary(
      mean=float(np.mean(array)),
      std=float(np.std(array, ddof=1)) if len(array) > 1 else None,
      runs=len(array))


def summary_cells(summary: Summary) -> list[str]:
  """Returns mean and standard deviation in percent, and the runs, as text."""
  mean, std = summary["mean"], summary["std"]
  return [f"{mean:.2%}", "-" if std is None else f"{std:.2%}",
          str(summary["runs"])]

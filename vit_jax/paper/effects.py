"""Differences between the rows of our own runs, and how sure they are."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Effect:
  """How far one row is ahead of another.

  Attributes:
    points: difference of the means, in percentage points.
    margin: half the width of its 95 % interval, in points.
  """

  points: float
  margin: float

  @property
  def is_clear(self) -> bool:
    """Whether the interval leaves zero out."""
    return abs(self.points) > self.margin

  def __str__(self) -> str:
    return f"{self.points:+.1f} ± {self.margin:.1f} points"


def margin(result: Mapping[str, Any], names: Sequence[str]) -> float:
  """Returns half the 95 % interval of a sum or difference of rows, in points.

  Two things are uncertain: the seeds, of which a few were run (Student's t on
  the variances of the rows), and the test pictures, which are a sample, too
  (the binomial variance of the scores). Rows are scored on the same pictures,
  which makes their difference surer than that: the interval is too wide rather
  than too narrow.

  Args:
    result: as vit_jax/paper/results keeps it.
    names: of rows that were run at least twice.
  """
  from scipy import stats  # Comes with JAX.

  rows = [result["scores"][name] for name in names]
  seeds = sum(row["std"]**2 / row["runs"] for row in rows)
  test = sum(row["mean"] * (1 - row["mean"]) for row in rows) / result[
      "examples"]
  tail = (1 + CONFIDENCE) / 2
  degrees = sum(row["runs"] - 1 for row in rows)
  return 100 * math.sqrt(stats.t.ppf(tail, degrees)**2 * seeds
                         + stats.norm.ppf(tail)**2 * test)


def effect(
    result: Mapping[str, Any], one: str, other: str) -> Effect | None:
  """Returns how far row `one` is ahead of row `other`.

  Args:
    result: as vit_jax/paper/results keeps it.
    one, other: rows.

  Returns:
    None where a row was not run, or only once.
  """
  rows = [result.get("scores", {}).get(name) for name in (one, other)]
  if any(row is None or row["runs"] < 2 for row in rows):
    return None
  return Effect(
      100 * (rows[0]["mean"] - rows[1]["mean"]), margin(result, (one, other)))

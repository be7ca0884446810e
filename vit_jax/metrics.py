"""The record of a run, metrics.jsonl: one JSON object a line.

Each has "step" (updates completed) and some of "train/...", "eval/NAME/..." and
"time/...". It is the record of truth: reports, studies and tables read it.
"""

from collections.abc import Iterable, Mapping
import json
from typing import Any

from absl import logging
from etils import epath

from vit_jax.paths import absolute

RECORD = "metrics.jsonl"


def read_record(workdir: str) -> list[dict[str, Any]]:
  """Returns the lines of WORKDIR/metrics.jsonl, without a torn last one."""
  path = epath.Path(absolute(workdir)) / RECORD
  if not path.exists():
    return []
  lines = []
  for line in path.read_text().splitlines():
    try:
      lines.append(json.loads(line))
    except json.JSONDecodeError:
      logging.warning("%s: dropped an incomplete line", path)
  return lines


def newest_scores(
    record: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
  """Returns the newest value of every "eval/..." key in lines of a record."""
  return {key: value for line in record for key, value in line.items()
          if key.startswith("eval/")}


def last_scores(workdir: str) -> dict[str, float]:
  """Returns the newest value of every "eval/..." key of a run's record."""
  return newest_scores(read_record(workdir))


def duration(seconds: float) -> str:
  """Returns seconds as "3d 4h", "2h 05m", "3m 20s" or "12s"."""
  seconds = int(seconds)
  minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
  if days:
    return f"{days}d {hours % 24}h"
  if hours:
    return f"{hours}h {minutes % 60:02d}m"
  if minutes:
    return f"{minutes}m {seconds % 60:02d}s"
  return f"{seconds}s"

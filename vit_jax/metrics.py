"""The record of a run, metrics.jsonl: one JSON object a line.

Each has "step" (updates completed) and some of "train/...", "eval/NAME/..." and
"time/...". It is the record of truth: reports, studies and tables read it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from absl import logging
from etils import epath

from vit_jax.errors import abbreviate
from vit_jax.paths import absolute
from vit_jax.weights.formats.json_object import parse_object

RECORD = "metrics.jsonl"


def read_record(workdir: str) -> list[dict[str, Any]]:
  """Returns the lines of WORKDIR/metrics.jsonl that are sound.

  A kill tears the last one, and a crash of the machine may leave others. Those
  are left out, with a warning.
  """
  path = epath.Path(absolute(workdir)) / RECORD
  if not path.exists():
    return []
  lines, damaged = [], []
  for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
    try:
      lines.append(_sound(parse_object(line)))
    except ValueError:
      if line:
        damaged.append(str(number))
  if damaged:
    logging.warning("%s: damaged or incomplete and left out: line %s", path,
                    abbreviate(damaged))
  return lines


def _sound(line: dict[str, Any]) -> dict[str, Any]:
  """Returns a line of the record; ValueError if it cannot be one."""
  step = line.get("step")
  if not isinstance(step, int) or isinstance(step, bool) or step < 0:
    raise ValueError("no step")
  for key, value in line.items():
    if key.startswith(("train/", "eval/", "time/")) and not isinstance(
        value, int | float):
      raise ValueError(f"{key} is no number")
  return line


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

"""Facts of training runs, read from working directories, as short texts."""

from collections.abc import Callable, Sequence
import dataclasses
import json
import re
from typing import Any

from etils import epath
import numpy as np

from vit_jax.errors import DataError, UsageError
from vit_jax.metrics import duration, newest_scores, read_record
from vit_jax.report.page import flatten
from vit_jax.report.run_files import (
    CONFIG,
    MODEL,
    read_details,
    read_json,
    read_samples,
)

SAMPLES = "samples.npz"
SCORE_NAMES = {
    "accuracy_top5": "accuracy, top 5", "ece": "calibration error",
    "accuracy_class_mean": "accuracy, mean of classes",
    "accuracy_class_min": "accuracy, weakest class"}


@dataclasses.dataclass(frozen=True)
class RunFacts:
  """What the files of a working directory say about a run.

  Attributes:
    name: for people, different from those of the other runs on the page.
    record: lines of metrics.jsonl.
    config: of config.json, {} where it is missing.
    environment: versions and devices that it ran on.
    origin: started, command and commit, as far as they are known.
    steps: of the whole run, None where unknown.
    model: of model.json, {} before the end.
    details: of eval/NAME.json by NAME: accuracy by class, confusions, ...
    samples: arrays images (n h w 3), labels (n,), probabilities (n k), and
      where they are known names (n,) and mistakes (n,): whether an image was
      chosen because it is wrong. None where none were kept.
  """

  name: str
  record: list[dict[str, Any]]
  config: dict[str, Any]
  environment: dict[str, Any]
  origin: dict[str, str]
  steps: int | None
  model: dict[str, Any]
  details: dict[str, dict[str, Any]]
  samples: dict[str, Any] | None

  def scores(self) -> dict[str, float]:
    """Returns the newest value of every "eval/..." key."""
    return newest_scores(self.record)

  def values(self, key: str) -> list[float]:
    """Returns the values of a key, in order."""
    return [line[key] for line in self.record if line.get(key) is not None]

  def last(self, key: str) -> float | None:
    """Returns the newest value of a key."""
    return next(iter(self.values(key)[::-1]), None)

  def last_step(self) -> int:
    """Returns the last step in the record."""
    return max((line["step"] for line in self.record), default=0)


def read_run_facts(workdir: str, name: str) -> RunFacts:
  """Reads the files of a working directory; `name` is for people.

  Raises:
    DataError: it holds no run, or one of the files is damaged.
  """
  folder = epath.Path(workdir)
  record = read_record(workdir)
  start = read_json(folder / "config.json", CONFIG)
  if not record and not start:
    raise DataError(
        f"{workdir}: no run here: neither metrics.jsonl nor config.json; "
        "give the --workdir of a training run")
  model = read_json(folder / "model.json", MODEL)
  return RunFacts(
      name, record, start.get("config", {}), start.get("environment", {}),
      start.get("origin", {}), start.get("steps"), model,
      {path.stem: read_details(path) for path in sorted(
          (folder / "eval").glob("*.json"))},
      read_samples(folder / SAMPLES, model.get("class_names")))


def distinct_names(folders: Sequence[str]) -> list[str]:
  """Returns the shortest ends of paths that tell the folders apart.

  Raises:
    UsageError: a folder is there twice.
  """
  parts = [folder.rstrip("/").split("/") for folder in folders]
  for count in range(1, max(map(len, parts)) + 1):
    ends = ["/".join(path[-count:]) for path in parts]
    if len(set(ends)) == len(ends):
      return ends
  raise UsageError(f"the same run twice: {', '.join(folders)}")


def headline(run: RunFacts) -> list[str]:
  """Returns two lines: what was trained on what, and how."""
  keys = flatten(run.config)
  if not keys:
    return []

  def value(key: str) -> Any:
    return keys.get(key, "?")

  size = value("data.image_size")
  height, width = size if isinstance(size, list) else (size, size)
  variant = run.model.get("variant") or value("model.variant")
  network = run.model.get("architecture")
  if network and "custom" in variant:
    variant = (f"{variant} (width {network.get('width')}, depth "
               f"{network.get('depth')}, {network.get('num_heads')} heads)")
  path = value("init.path")
  start = f"from {path}" if path else "from scratch"
  return [
      f"{variant} at {height}×{width} on {value('data.source')} "
      f"({value('data.split')}), {start}, {_count(run.steps)} steps of "
      f"{value('data.batch_size')} images",
      f"{value('optim.name')}, learning rate {value('optim.learning_rate')} "
      f"({value('optim.schedule')}, {_warmup(run, value)}), weight decay "
      f"{value('optim.weight_decay')}"
      + _devices(run.environment)]


def _warmup(run: RunFacts, value: Callable[[str], Any]) -> str:
  """Returns "100 warm-up steps", also where the config has a share."""
  share = value("optim.warmup_share")
  if isinstance(share, int | float) and run.steps is not None:
    return f"{round(share * run.steps):,} warm-up steps"
  return f"{value('optim.warmup_steps')} warm-up steps"


def _devices(environment: dict[str, Any]) -> str:
  """Returns "; on 8 cpu devices", or "" where nothing is known."""
  count = environment.get("devices")
  if not count:
    return ""
  noun = "device" if count == 1 else "devices"
  return f"; on {count} {environment.get('device')} {noun}"


Tile = tuple[str, str, str]  # name, value, what it is of


def tiles(run: RunFacts) -> list[Tile]:
  """Returns the large numbers of a run."""
  return [*_score_tiles(run), *_progress_tiles(run), *_speed_tiles(run)]


def _score_tiles(run: RunFacts) -> list[Tile]:
  """Returns the accuracies, and the loss of the last step logged."""
  scores, values = run.scores(), []
  # None, and 0 too, keep no average that differs from the weights.
  keys = flatten(run.config)
  averaged = bool(keys.get("train.ema_decay"))
  for name in evaluations([run]):
    accuracy = scores.get(f"eval/{name}/accuracy")
    if accuracy is None:
      continue
    examples = scores.get(f"eval/{name}/examples")
    of = [f"{round(accuracy * examples):,} of {examples:,}"] if examples else []
    of += ["averaged weights"] if averaged else []
    values.append((f"{name} accuracy", f"{accuracy:.2%}", ", ".join(of)))
  loss = run.last("train/loss")
  if loss is not None:
    values.append(("training loss", f"{loss:.3g}", "of the last step logged"))
  return values


def _progress_tiles(run: RunFacts) -> list[Tile]:
  """Returns how many steps have been done."""
  step, batch = run.last_step(), _batch_size(run)
  if run.steps is not None and step < run.steps:
    how = "stopped early" if run.model else "not finished"
    return [("steps", _count(step), f"of {_count(run.steps)}: {how}")]
  return [("steps", _count(step), f"{step * batch:,} images" if batch else "")]


def _speed_tiles(run: RunFacts) -> list[Tile]:
  """Returns images per second, and the time that the steps took."""
  rates, batch = run.values("train/images_per_second"), _batch_size(run)
  if not rates:
    return []
  mfu = run.last("train/mfu")
  tiles = [("images per second", f"{np.median(rates):,.0f}",
            "median" if mfu is None else f"MFU {mfu:.1%}")]
  if batch:
    seconds, before = 0.0, 0
    for line in run.record:
      rate = line.get("train/images_per_second")
      if rate:
        seconds += (line["step"] - before) * batch / rate
        before = line["step"]
    tiles.append(("time in steps", duration(seconds),
                  "without evaluation and start-up"))
  return tiles


def _batch_size(run: RunFacts) -> int | None:
  """Returns the images of a step, None where the config is missing."""
  keys = flatten(run.config)
  return keys.get("data.batch_size")


def evaluations(runs: Sequence[RunFacts]) -> list[str]:
  """Returns the names under "eval/" of all runs."""
  return list(dict.fromkeys(
      match[1] for run in runs for key in run.scores()
      if (match := re.match(r"eval/(.+)/", key))))


def score_table(
    runs: Sequence[RunFacts]
) -> tuple[list[str], list[list[str]]] | None:
  """Returns header and rows of the final scores; None where there are none.

  One run has a column for each evaluation; of several, each has a row.
  """
  names = evaluations(runs)
  if not names:
    return None
  metrics = list(dict.fromkeys(
      key.rpartition("/")[2] for run in runs for key in run.scores()))
  if len(runs) == 1:
    return _scores_of_one(runs[0], names, metrics)
  columns = [(name, metric) for name in names for metric in metrics
             if metric in ("accuracy", "loss")]
  rows = []
  for run in runs:
    scores = run.scores()
    cells = [_score(metric, scores.get(f"eval/{name}/{metric}"))
             for name, metric in columns]
    rows.append([run.name, *cells, _count(run.last_step())])
  return ["run", *(" ".join(column) for column in columns), "step"], rows


def _scores_of_one(
    run: RunFacts, names: Sequence[str], metrics: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
  """Returns a row for each score, and for the best accuracy on the way."""
  scores = run.scores()
  rows = [[SCORE_NAMES.get(metric, metric.replace("_", " ")),
           *(_score(metric, scores.get(f"eval/{name}/{metric}"))
             for name in names)] for metric in metrics]
  best = []
  for name in names:
    key = f"eval/{name}/accuracy"
    history = [(line[key], line["step"]) for line in run.record
               if line.get(key) is not None]
    accuracy, step = max(
        history, key=lambda pair: pair[0], default=(None, None))
    best.append("-" if step is None else f"{accuracy:.2%} (step {step:,})")
  return ["", *names], [*rows, ["best accuracy", *best]]


def differences(runs: Sequence[RunFacts]) -> list[list[str]]:
  """Returns the config keys in which runs differ, and each run's value."""
  flat = [flatten(run.config) for run in runs]
  keys = dict.fromkeys(key for config in flat for key in config)
  rows = []
  for key in keys:
    values = [json.dumps(config[key]) if key in config else "-"
              for config in flat]
    if len(set(values)) > 1:
      rows.append([key, *values])
  return rows


def _score(metric: str, value: Any) -> str:
  if value is None:
    return "-"
  if metric.startswith("accuracy") or metric == "ece":
    return f"{value:.2%}"
  return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _count(value: int | None) -> str:
  return "?" if value is None else f"{value:,}"

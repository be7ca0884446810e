"""Facts of training runs, read from working directories, as short texts."""

from collections.abc import Sequence
import dataclasses
import io
import json
import re
from typing import Any

from etils import epath
import numpy as np

from vit_jax.errors import DataError, UsageError
from vit_jax.metrics import duration, read_record
from vit_jax.report.page import flatten

SAMPLES = "samples.npz"


@dataclasses.dataclass(frozen=True)
class Run:
  """What a working directory says.

  Attributes:
    name: for people, unlike those of the other runs on the page.
    record: lines of metrics.jsonl.
    config: of config.json, {} where it is missing.
    environment: versions and devices that it ran on.
    steps: of the whole run, None where unknown.
    model: of model.json, {} before the end.
    samples: arrays images, labels, probabilities; None where none were kept.
  """

  name: str
  record: list[dict[str, Any]]
  config: dict[str, Any]
  environment: dict[str, Any]
  steps: int | None
  model: dict[str, Any]
  samples: dict[str, np.ndarray] | None

  def scores(self) -> dict[str, float]:
    """Returns the newest value of every "eval/..." key."""
    found = {}
    for line in self.record:
      found |= {k: v for k, v in line.items() if k.startswith("eval/")}
    return found

  def values(self, key: str) -> list[float]:
    """Returns the values of a key, in order."""
    return [line[key] for line in self.record if line.get(key) is not None]

  def last(self, key: str) -> float | None:
    """Returns the newest value of a key."""
    return next(iter(self.values(key)[::-1]), None)

  def last_step(self) -> int:
    """Returns the last step in the record."""
    return max((line["step"] for line in self.record), default=0)


def read_run(workdir: str, name: str) -> Run:
  """Reads the files of a working directory.

  Raises:
    DataError: it holds no run, or one of the files is damaged.
  """
  folder = epath.Path(workdir)
  record = read_record(workdir)
  said = _read_json(folder / "config.json")
  if not record and not said:
    raise DataError(
        f"{workdir}: no run here: neither metrics.jsonl nor config.json; "
        "give the --workdir of a training run")
  samples = None
  if (folder / SAMPLES).exists():
    try:
      with np.load(io.BytesIO((folder / SAMPLES).read_bytes()),
                   allow_pickle=False) as file:
        samples = {key: file[key]
                   for key in ("images", "labels", "probabilities")}
    except (OSError, ValueError, KeyError, EOFError) as error:
      raise DataError(f"{folder / SAMPLES}: damaged ({error}); delete it, or "
                      "run the training's last evaluation again") from None
  return Run(
      name, record, said.get("config", {}), said.get("environment", {}),
      said.get("steps"), _read_json(folder / "model.json"), samples)


def _read_json(path: epath.Path) -> dict[str, Any]:
  if not path.exists():
    return {}
  try:
    return json.loads(path.read_text())
  except ValueError as error:
    raise DataError(f"{path}: not JSON ({error})") from None


def names(folders: Sequence[str]) -> list[str]:
  """Returns the shortest ends of paths that tell the folders apart."""
  parts = [folder.rstrip("/").split("/") for folder in folders]
  for count in range(1, max(map(len, parts)) + 1):
    ends = ["/".join(path[-count:]) for path in parts]
    if len(set(ends)) == len(ends):
      return ends
  raise UsageError(f"the same run twice: {', '.join(folders)}")


def headline(run: Run) -> list[str]:
  """Returns two lines: what was trained on what, and how."""
  keys = flatten(run.config)
  if not keys:
    return []

  def said(key: str) -> Any:
    return keys.get(key, "?")

  size = said("data.image_size")
  sides = size if isinstance(size, list) else [size, size]
  variant = run.model.get("variant") or said("model.variant")
  network = run.model.get("architecture")
  if network and "custom" in variant:
    variant = (f"{variant} (width {network['width']}, depth "
               f"{network['depth']}, {network['num_heads']} heads)")
  start = said("init.path")
  return [
      f"{variant} at {sides[0]}×{sides[1]} on {said('data.source')} "
      f"({said('data.split')}), "
      + (f"from {start}" if start else "from scratch")
      + f", {_count(run.steps)} steps of {said('data.batch_size')} pictures",
      f"{said('optim.name')}, learning rate {said('optim.learning_rate')} "
      f"({said('optim.schedule')}, {said('optim.warmup_steps')} warm-up "
      f"steps), weight decay {said('optim.weight_decay')}"
      + _devices(run.environment)]


def _devices(environment: dict[str, Any]) -> str:
  count = environment.get("devices")
  if not count:
    return ""
  return f"; on {count} {environment.get('device')} device{'s'[:count > 1]}"


def tiles(run: Run) -> list[tuple[str, str, str]]:
  """Returns the large numbers: (name, value, what it is of)."""
  scores, found = run.scores(), []
  for name in evaluations([run]):
    accuracy = scores.get(f"eval/{name}/accuracy")
    if accuracy is None:
      continue
    examples = scores.get(f"eval/{name}/examples")
    more = f"{round(accuracy * examples):,} of {examples:,}" if examples else ""
    found.append((f"{name} accuracy", f"{accuracy:.2%}", more))
  loss = run.last("train/loss")
  if loss is not None:
    found.append(("training loss", f"{loss:.3g}", "of the last step logged"))
  step = run.last_step()
  done = run.steps is None or step >= run.steps
  keys = flatten(run.config)
  batch = keys.get("data.batch_size")
  found.append(("steps", _count(step), f"{step * batch:,} pictures" if
                done and batch else f"of {_count(run.steps)}: not finished"))
  rates = run.values("train/images_per_second")
  if rates:
    mfu = run.last("train/mfu")
    more = f"MFU {mfu:.1%}" if mfu is not None else "median"
    found.append(("images per second", f"{np.median(rates):,.0f}", more))
  if rates and batch:
    seconds, before = 0.0, 0
    for line in run.record:
      if line.get("train/images_per_second"):
        seconds += ((line["step"] - before) * batch
                    / line["train/images_per_second"])
        before = line["step"]
    found.append(("time in steps", duration(seconds),
                  "without evaluation and start-up"))
  return found


def evaluations(runs: Sequence[Run]) -> list[str]:
  """Returns the names under "eval/" of all runs."""
  return list(dict.fromkeys(
      match[1] for run in runs for key in run.scores()
      if (match := re.match(r"eval/(.+)/", key))))


def score_table(
    runs: Sequence[Run]
) -> tuple[list[str], list[list[str]]] | None:
  """Returns header and rows of the final scores; None where there are none.

  One run has a row an evaluation, several have a row a run.
  """
  names = evaluations(runs)
  metrics = list(dict.fromkeys(
      key.rpartition("/")[2] for run in runs for key in run.scores()))
  if not names:
    return None
  if len(runs) > 1:
    columns = [(name, metric) for name in names for metric in metrics
               if metric in ("accuracy", "loss")]
    return (["run", *(f"{name} {metric}" for name, metric in columns), "step"],
            [[run.name, *(_score(metric, run.scores().get(
                f"eval/{name}/{metric}")) for name, metric in columns),
              _count(run.last_step())] for run in runs])
  run, rows = runs[0], []
  for name in names:
    key = f"eval/{name}/accuracy"
    best = max(((line[key], line["step"]) for line in run.record
                if line.get(key) is not None), default=None,
               key=lambda pair: pair[0])
    rows.append(
        [name, *(_score(metric, run.scores().get(f"eval/{name}/{metric}"))
                 for metric in metrics),
         f"{best[0]:.2%} at step {best[1]:,}" if best else "-"])
  header = [metric.replace("_top5", ", top 5") for metric in metrics]
  return ["evaluation", *header, "best accuracy"], rows


def differences(runs: Sequence[Run]) -> list[list[str]]:
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
  if metric.startswith("accuracy"):
    return f"{value:.2%}"
  return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _count(value: int | None) -> str:
  return "?" if value is None else f"{value:,}"

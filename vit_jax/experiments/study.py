"""A study: several runs that differ in one thing, and a table of how they end.

The paper's tables and figures are studies. A config file that holds one has,
beside get_config(arg), a function get_study(arg) that returns a Study; each of
its rows is trained with every seed, in folders of its own below the working
directory. A run that is finished is not run again, one that was stopped goes
on.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import datetime
import importlib.util
import json
from typing import Any

from absl import logging
from etils import epath
import jax
from ml_collections import ConfigDict
import numpy as np

from vit_jax.config import schema
from vit_jax.devices.distributed import is_primary
from vit_jax.errors import UsageError, suggest
from vit_jax.metrics import last_scores, read_record
from vit_jax.models.variants import make_model
from vit_jax.training import workdir as workdir_lib
from vit_jax.training.loop import train

RECORD = "study.json"


@dataclasses.dataclass(frozen=True)
class Stage:
  """One training run of a row.

  Attributes:
    arg: of get_config.
    changes: to that config, such as {"model.posemb": "none"}.
    file: config file, "" for the study's own.
    folder: of the run, where rows share it: they begin with the same one; ""
      for one of the row's own.
  """

  arg: str = ""
  changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  file: str = ""
  folder: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
  """One line of the table.

  Attributes:
    stages: runs after each other; each begins with the weights of the former.
    paper: the paper's number, None where it prints none.
    series: line of the figure that the row belongs to, "" for none.
    x: place on that line; None for none.
  """

  stages: tuple[Stage, ...]
  paper: float | None = None
  series: str = ""
  x: float | None = None


@dataclasses.dataclass(frozen=True)
class Study:
  """What is compared.

  Attributes:
    title: of the table.
    source: where in the paper.
    rows: by name, in the order of the table.
    metric: key of the record that is reported, from the last stage.
    x_label: of the figure's horizontal axis, "" for no figure; it is
      logarithmic.
    best_by: the evaluation at which this key was highest is reported, as in
      early stopping; "" for the last one.
  """

  title: str
  source: str
  rows: Mapping[str, Row]
  metric: str
  x_label: str = ""
  best_by: str = ""


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How far a study has come; what study.json holds.

  Attributes:
    scores: row -> seed -> value of the metric.
    finished: False if it was told to stop (exit code 42: run it again).
  """

  scores: Mapping[str, Mapping[int, float]]
  finished: bool

  def summary(self) -> dict[str, dict[str, float | None]]:
    """Returns mean, std (None of a single run) and runs of each row."""
    return {
        name: {"mean": float(np.mean(list(runs.values()))),
               "std": float(np.std(list(runs.values()), ddof=1))
               if len(runs) > 1 else None,
               "runs": len(runs)}
        for name, runs in self.scores.items() if runs}


def read_study(path: str, arg: str) -> Study:
  """Returns the study of a config file.

  Args:
    path: of the file.
    arg: what stands after the colon.

  Raises:
    UsageError: the file holds none.
  """
  spec = importlib.util.spec_from_file_location("vit_jax_study_config", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if not hasattr(module, "get_study"):
    raise UsageError(
        f"{path} holds no study (get_study); train it with `train`, or see "
        "configs/posemb_ablation.py for one that does")
  return module.get_study(arg)


def choose_rows(study: Study, names: Sequence[str]) -> list[str]:
  """Returns the rows to run: those named, all if none is.

  Raises:
    UsageError: there is no such row.
  """
  for name in names:
    if name not in study.rows:
      raise UsageError(f"--rows: {name!r} is unknown"
                       f"{suggest(name, study.rows)}; known: "
                       f"{', '.join(study.rows)}")
  return [name for name in study.rows if not names or name in names]


def run_study(
    study: Study, make_config: Callable[[Stage], ConfigDict], workdir: str, *,
    names: Sequence[str] = (), num_seeds: int = 1,
) -> Outcome:
  """Trains every row with every seed, or goes on with it.

  Args:
    study: what is compared.
    make_config: returns the config of a stage, changes applied.
    workdir: of the study, local or a bucket.
    names: rows; all where empty.
    num_seeds: runs of each row, seeds counted from the config's own.

  Raises:
    UserError: what `train` raises.
  """
  workdir = workdir_lib.prepare(workdir)
  scores: dict[str, dict[int, float]] = {}
  chosen = choose_rows(study, names)
  for index in range(num_seeds):
    for name in chosen:
      value = _run_row(study, name, make_config, workdir, index)
      if value is None:
        return Outcome(scores, False)
      seed, score = value
      scores.setdefault(name, {})[seed] = score
      done = len(scores) == len(chosen) and all(
          len(runs) == num_seeds for runs in scores.values())
      _record(workdir, study, Outcome(scores, done))
  return Outcome(scores, True)


def _run_row(
    study: Study, name: str, make_config: Callable[[Stage], ConfigDict],
    workdir: str, index: int,
) -> tuple[int, float] | None:
  """Returns (seed, score) of one row, None if it was told to stop."""
  before = ""
  for number, stage in enumerate(study.rows[name].stages):
    config = make_config(stage)
    config.train.seed += index
    seed = config.train.seed
    if before:
      config.init.path = before
    folder = f"{workdir}/{stage.folder or name.replace('/', '-')}/seed-{seed}"
    if len(study.rows[name].stages) > 1 and not stage.folder:
      folder += f"/stage-{number + 1}"
    logging.info("%s, seed %d, stage %d", name, seed, number + 1)
    if workdir_lib.is_finished(folder):
      workdir_lib.check_same_run(folder, schema.resolve(config))
      found = last_scores(folder)
    else:
      result = train(config, folder)
      if not result.finished:
        return None
      found = result.scores
    before = f"{folder}/model.npz"
  if study.best_by:
    found = best_scores(folder, study.best_by)
  if study.metric not in found:
    raise UsageError(
        f"{name}: the run has no {study.metric}; it has "
        f"{', '.join(sorted(found)) or 'no evaluation'}")
  return seed, found[study.metric]


def best_scores(workdir: str, key: str) -> dict[str, float]:
  """Returns a run's scores at the step at which `key` was highest.

  Of several, the first: that is where early stopping would have stopped.
  """
  scores: dict[int, dict[str, float]] = {}
  for line in read_record(workdir):
    found = {k: v for k, v in line.items() if k.startswith("eval/")}
    scores.setdefault(line["step"], {}).update(found)
  best = max((one[key], -step) for step, one in scores.items() if key in one)
  return scores[-best[1]]


def relative_compute(changes: Mapping[str, Any], base: Mapping[str, Any],
                     image_size: int) -> float:
  """Returns the multiply-adds of a model over those of another (Fig. 8).

  Args:
    changes, base: make_model's keywords.
    image_size: side of the pictures in pixels.
  """


  def macs(options: Mapping[str, Any]) -> int:
    model = make_model(**{"num_classes": 1000, **options})
    return model.macs((image_size, image_size))

  return macs({**base, **changes}) / macs(base)


def table(study: Study, outcome: Outcome) -> list[list[str]]:
  """Returns the table: a header, then a line a row that has run."""
  lines = [["row", "paper", "ours", "std", "runs"]]
  for name, one in outcome.summary().items():
    paper = study.rows[name].paper
    lines.append([
        name, "-" if paper is None else f"{paper:.2%}", f"{one['mean']:.2%}",
        "-" if one["std"] is None else f"{one['std']:.2%}", str(one["runs"])])
  return lines


def markdown(study: Study, outcome: Outcome) -> str:
  """Returns title and table as Markdown."""
  header, *rows = table(study, outcome)
  lines = [header, ["---"] * len(header), *rows]
  return (f"# {study.title} ({study.source})\n\n{study.metric}\n\n"
          + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")


def record(study: Study, outcome: Outcome, *, name: str, command: str,
           size: str, notes: str = "") -> dict[str, Any]:
  """Returns what vit_jax/paper/results keeps of a study.

  Args:
    study, outcome: what ran.
    name: of the experiment.
    command: that ran it.
    size: what it ran on, in words.
    notes: what a reader must know.
  """
  return {
      "experiment": name, "command": command,
      "date": datetime.date.today().isoformat(),
      "device": jax.devices()[0].device_kind, "size": size,
      "seeds": max((one["runs"] for one in outcome.summary().values()),
                   default=0),
      "metric": study.metric, "scores": outcome.summary(), "notes": notes}


def _record(workdir: str, study: Study, outcome: Outcome) -> None:
  """Writes study.json and study.md."""
  if not is_primary():
    return
  folder = epath.Path(workdir)
  said = dataclasses.asdict(outcome) | {
      "metric": study.metric, "summary": outcome.summary()}
  (folder / RECORD).write_text(json.dumps(said, indent=2) + "\n")
  (folder / "study.md").write_text(markdown(study, outcome))

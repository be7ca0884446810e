"""A study: runs that differ in one thing, and a table of their final scores.

The paper's tables and figures are studies. A config file with one has, beside
get_config(arg), a function get_study(arg) that returns a Study. Each of its
rows is trained with every seed, in folders of its own below the working
directory. Finished runs are not repeated, unfinished ones are resumed.
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

from vit_jax.config import schema
from vit_jax.config.find import error_in_config
from vit_jax.devices.distributed import is_primary
from vit_jax.errors import UsageError, UserError, suggest
from vit_jax.experiments.summary import Summary, summarise, summary_cells
from vit_jax.metrics import last_scores, newest_scores, read_record
from vit_jax.models.variants import make_model
from vit_jax.report.markdown import markdown_table
from vit_jax.training.finished import is_finished
from vit_jax.training.loop import train
from vit_jax.training.workdir import check_same_run, create_workdir

RECORD = "study.json"


@dataclasses.dataclass(frozen=True)
class TrainingStage:
  """One training run of a row, such as pre-training or fine-tuning.

  Attributes:
    arg: of get_config.
    changes: to that config, such as {"model.posemb": "none"}.
    file: config file, "" for the study's own.
    folder: of the run, for rows that share their first stage; "" for a folder
      of the row's own.
  """

  arg: str = ""
  changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  file: str = ""
  folder: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
  """One line of the table.

  Attributes:
    stages: runs in order; each starts from the weights of the one before.
    paper: the paper's number, None where it prints none.
    series: line of the figure that the row belongs to, "" for none.
    x: horizontal position on that line; None for none.
  """

  stages: tuple[TrainingStage, ...]
  paper: float | None = None
  series: str = ""
  x: float | None = None


@dataclasses.dataclass(frozen=True)
class Study:
  """What is compared.

  Attributes:
    title: of the table.
    source: table, figure or section of the paper.
    rows: by name, in the order of the table.
    metric: key of the last stage's record that is reported.
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
class StudyOutcome:
  """How far a study has come; what study.json holds.

  Attributes:
    scores: row -> seed -> value of the metric.
    finished: False if it was stopped early (exit code 42: run it again).
  """

  scores: Mapping[str, Mapping[int, float]]
  finished: bool

  def summary(self) -> dict[str, Summary]:
    """Returns the summary of each row over its seeds."""
    return {name: summarise(runs.values())
            for name, runs in self.scores.items() if runs}


def read_study(path: str, arg: str) -> Study:
  """Returns the study of a config file.

  Args:
    path: of the file.
    arg: of get_study, what follows the colon of --config.

  Raises:
    UsageError: the file has none, or fails.
  """
  spec = importlib.util.spec_from_file_location("vit_jax_study_config", path)
  assert spec is not None and spec.loader is not None  # It ends in .py.
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
    if not hasattr(module, "get_study"):
      raise UsageError(
          f"{path} holds no study (get_study); train it with `train`, or see "
          "configs/posemb_ablation.py for one that does")
    return module.get_study(arg)
  except UserError:
    raise
  # The file is a program, which fails in any way.
  except Exception as error:
    raise UsageError(error_in_config(path, error)) from error


def choose_rows(study: Study, names: Sequence[str]) -> list[str]:
  """Returns the rows of these names, all rows where none is named.

  Raises:
    UsageError: a name is unknown.
  """
  for name in names:
    if name not in study.rows:
      raise UsageError(f"--rows: {name!r} is unknown"
                       f"{suggest(name, study.rows)}; known: "
                       f"{', '.join(study.rows)}")
  return [name for name in study.rows if not names or name in names]


def run_study(
    study: Study, make_config: Callable[[TrainingStage], ConfigDict],
    workdir: str, *, names: Sequence[str] = (), num_seeds: int = 1,
) -> StudyOutcome:
  """Trains every row with every seed, resuming unfinished runs.

  Args:
    study: what is compared.
    make_config: returns the config of a stage, changes applied.
    workdir: of the study, local or a bucket.
    names: of rows; () for all.
    num_seeds: runs of each row, with the config's own seed and the next ones.

  Raises:
    UserError: what `train` raises.
  """
  workdir = create_workdir(workdir)
  scores: dict[str, dict[int, float]] = {}
  chosen = choose_rows(study, names)
  for index in range(num_seeds):
    for name in chosen:
      value = _run_row(study, name, make_config, workdir, index)
      if value is None:
        return StudyOutcome(scores, False)
      seed, score = value
      scores.setdefault(name, {})[seed] = score
      done = len(scores) == len(chosen) and all(
          len(runs) == num_seeds for runs in scores.values())
      _write_record(workdir, study, StudyOutcome(scores, done))
  return StudyOutcome(scores, True)


def _run_row(
    study: Study, name: str,
    make_config: Callable[[TrainingStage], ConfigDict], workdir: str,
    index: int,
) -> tuple[int, float] | None:
  """Returns (seed, score) of one row, None if it was stopped early."""
  before = ""
  for number, stage in enumerate(study.rows[name].stages):
    config = make_config(stage)
    config.train.seed = seed = config.train.seed + index
    if before:
      config.init.path = before
    folder = f"{workdir}/{stage.folder or name.replace('/', '-')}/seed-{seed}"
    if len(study.rows[name].stages) > 1 and not stage.folder:
      folder += f"/stage-{number + 1}"
    logging.info("%s, seed %d, stage %d", name, seed, number + 1)
    if is_finished(folder):
      check_same_run(folder, schema.resolve(config))
      scores = last_scores(folder)
    else:
      result = train(config, folder)
      if not result.finished:
        return None
      scores = result.scores
    before = f"{folder}/model.npz"
  if study.best_by:
    scores = best_scores(folder, study.best_by)
  if study.metric not in scores:
    raise UsageError(
        f"{name}: the run has no {study.metric}; it has "
        f"{', '.join(sorted(scores)) or 'no evaluation'}")
  return seed, scores[study.metric]


def best_scores(workdir: str, key: str) -> dict[str, float]:
  """Returns a run's scores at the step at which `key` was highest.

  The first such step: that is where early stopping would have stopped.

  Raises:
    UsageError: the run has no such key.
  """
  record = read_record(workdir)
  scored = [line for line in record if key in line]
  if not scored:
    raise UsageError(f"{workdir}: the run has no {key}, which decides when to "
                     "stop early")
  best = max(scored, key=lambda line: (line[key], -line["step"]))
  return newest_scores(
      line for line in record if line["step"] == best["step"])


def relative_compute(changes: Mapping[str, Any], base: Mapping[str, Any],
                     image_size: int) -> float:
  """Returns the multiply-adds of a model relative to another's (Fig. 8).

  Args:
    changes: keywords of make_model in which it differs from the other model.
    base: keywords of make_model for the other model.
    image_size: side of the images in pixels.
  """


  def macs(options: Mapping[str, Any]) -> int:
    model = make_model(**{"num_classes": 1000, **options})
    return model.macs((image_size, image_size))

  return macs({**base, **changes}) / macs(base)


def study_table(study: Study, outcome: StudyOutcome) -> list[list[str]]:
  """Returns the table: a header, then a line for each row that has run."""
  lines = [["row", "paper", "ours", "std", "runs"]]
  for name, summary in outcome.summary().items():
    paper = study.rows[name].paper
    lines.append([name, "-" if paper is None else f"{paper:.2%}",
                  *summary_cells(summary)])
  return lines


def published_result(
    study: Study, outcome: StudyOutcome, *, name: str, command: str,
    size: str, notes: str = "",
) -> dict[str, Any]:
  """Returns what vit_jax/paper/results keeps of a study.

  Args:
    study, outcome: what ran.
    name: of the experiment.
    command: that ran it.
    size: model, data and length of the runs, in words.
    notes: what a reader must know.
  """
  summaries = outcome.summary()
  return {
      "experiment": name, "command": command,
      "date": datetime.date.today().isoformat(),
      "device": jax.devices()[0].device_kind, "size": size,
      "seeds": max((s["runs"] for s in summaries.values()), default=0),
      "metric": study.metric, "scores": summaries, "notes": notes}


def _write_record(
    workdir: str, study: Study, outcome: StudyOutcome
) -> None:
  """Writes study.json and study.md."""
  if not is_primary():
    return
  folder = epath.Path(workdir)
  record = dataclasses.asdict(outcome) | {
      "metric": study.metric, "summary": outcome.summary()}
  (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
  header, *rows = study_table(study, outcome)
  (folder / "study.md").write_text(
      f"# {study.title} ({study.source})\n\n{study.metric}\n\n"
      + markdown_table(header, rows), "utf-8")

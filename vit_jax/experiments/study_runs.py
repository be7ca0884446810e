"""The runs of a study, one after the other, resumed where they stopped."""

from collections.abc import Callable, Sequence

from absl import logging
from ml_collections import ConfigDict

from vit_jax.config import schema
from vit_jax.errors import UsageError
from vit_jax.experiments.study import (
    Study,
    StudyOutcome,
    TrainingStage,
    choose_rows,
)
from vit_jax.experiments.study_table import write_record
from vit_jax.metrics import last_scores, newest_scores, read_record
from vit_jax.training.finished import is_finished
from vit_jax.training.loop import train
from vit_jax.training.workdir import check_same_run, create_workdir


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
  outcome = StudyOutcome(scores, False)
  seconds: dict[str, float] = {}
  chosen = choose_rows(study, names)
  for index in range(num_seeds):
    for name in chosen:
      value = _run_row(study, name, make_config, workdir, index, seconds)
      if value is None:
        return outcome
      seed, found = value
      scores.setdefault(name, {})[seed] = found[study.metric]
      outcome = StudyOutcome(
          scores,
          finished=len(scores) == len(chosen) and all(
              len(runs) == num_seeds for runs in scores.values()),
          examples=int(found.get(
              f"{study.metric.rpartition('/')[0]}/examples", 0)),
          seconds=sum(seconds.values()))
      write_record(workdir, study, outcome)
  return outcome


def _run_row(
    study: Study, name: str,
    make_config: Callable[[TrainingStage], ConfigDict], workdir: str,
    index: int, seconds: dict[str, float],
) -> tuple[int, dict[str, float]] | None:
  """Returns (seed, scores) of one row, None if stopped early.

  Args:
    study, name, make_config, workdir: as of `run_study`; the row.
    index: added to the config's seed.
    seconds: of the runs by their folders, filled in.
  """
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
    if is_finished(folder):
      check_same_run(folder, schema.resolve(config))
      scores = last_scores(folder)
    else:
      result = train(config, folder)
      if not result.finished:
        return None
      scores = result.scores
    before = f"{folder}/model.npz"
    seconds[folder] = _seconds(folder)
  if study.best_by:
    scores = best_scores(folder, study.best_by)
  if study.metric not in scores:
    raise UsageError(
        f"{name}: the run has no {study.metric}; it has "
        f"{', '.join(sorted(scores)) or 'no evaluation'}")
  return seed, scores


def _seconds(workdir: str) -> float:
  """Returns the time of the clock from a run's beginning to its last line."""
  for line in reversed(read_record(workdir)):
    if line.get("time/goodput"):
      return line["time/productive"] / line["time/goodput"]
  return 0.0


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

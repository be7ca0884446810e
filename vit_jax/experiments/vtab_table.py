"""VTAB-1k's table: scores of many runs, means of the groups and of all."""

from collections.abc import Mapping, Sequence
import dataclasses
import json

from absl import logging
from etils import epath
import numpy as np

from vit_jax.data.sources.vtab import GROUPS, TASKS
from vit_jax.errors import DataError
from vit_jax.experiments.summary import summarise
from vit_jax.metrics import last_scores

# The split that a reported score is trained on, and its key in the record.
TRAINED_ON = "train800val200"
SCORE = "eval/test/accuracy"


@dataclasses.dataclass(frozen=True)
class Score:
  """A task's score.

  Attributes:
    mean: test accuracy, averaged over the runs.
    std: sample standard deviation over the runs, None of a single one.
    runs: their working directories.
  """

  mean: float
  std: float | None
  runs: tuple[str, ...]


def gather_scores(folders: Sequence[str]) -> dict[str, Score]:
  """Finds the finished runs of VTAB tasks below some folders.

  A run counts if it is of configs/vtab.py without `select`; several of one
  task, such as the seeds of a sweep, are averaged. Others are ignored.

  Returns:
    The score of each task that has a run, in the order of TASKS.

  Raises:
    DataError: no such run, or runs of different models.
  """
  by_task: dict[str, dict[str, float]] = {}
  models = {}
  for folder in folders:
    # A run itself, its folder of runs, or a folder of sweeps.
    paths = [path for depth in ("", "*/", "*/*/")
             for path in epath.Path(folder).glob(f"{depth}config.json")]
    for path in sorted(paths):
      workdir = str(path.parent)
      config = json.loads(path.read_text())["config"]
      kind, _, task = config["data"]["source"].partition(":")
      if kind != "vtab" or config["data"]["split"] != TRAINED_ON:
        continue
      score = last_scores(workdir).get(SCORE)
      if score is None or not (path.parent / "model.json").exists():
        logging.warning("%s: not finished, left out", workdir)
        continue
      by_task.setdefault(task, {})[workdir] = score
      models[config["model"]["variant"], config["init"]["path"]] = workdir
  if not by_task:
    raise DataError(f"{', '.join(folders)}: no finished run of a VTAB task on "
                    f"{TRAINED_ON}; train with --config=configs/vtab.py:b16,"
                    "TASK --workdir=FOLDER/TASK")
  if len(models) > 1:
    listing = ", ".join(f"{variant} from {start} ({where})"
                        for (variant, start), where in models.items())
    raise DataError(f"runs of different models: {listing}; name the folders "
                    "of one")
  return {task: _score(by_task[task]) for task in TASKS if task in by_task}


def _score(runs: Mapping[str, float]) -> Score:
  summary = summarise(runs.values())
  return Score(summary["mean"], summary["std"], tuple(runs))


def group_means(scores: Mapping[str, float]) -> dict[str, float | None]:
  """Returns the mean of each group, and "vtab", the mean of the 19 tasks.

  A mean is None while the score of one of its tasks is missing.

  Args:
    scores: by task.
  """
  parts = {group: [name for name, task in TASKS.items() if task.group == group]
           for group in GROUPS} | {"vtab": list(TASKS)}
  return {
      name: float(np.mean([scores[task] for task in tasks]))
      if all(task in scores for task in tasks) else None
      for name, tasks in parts.items()}

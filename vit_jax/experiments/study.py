"""A study: runs that differ in one thing, and a table of their final scores.

The paper's tables and figures are studies. A config file with one has, beside
get_config(arg), a function get_study(arg) that returns a Study. Each of its
rows is trained with every seed, in folders of its own below the working
directory. Finished runs are not repeated, unfinished ones are resumed.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import importlib.util
from typing import Any

from vit_jax.config.find import error_in_config
from vit_jax.errors import UsageError, UserError, suggest
from vit_jax.experiments.summary import Summary, summarise
from vit_jax.models.variants import make_model


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
    examples: that a score is of, 0 where the evaluation does not say.
    seconds: that the runs took, with their starts and evaluations, all
      together; in time of the clock, so that other work on the machine counts.
  """

  scores: Mapping[str, Mapping[int, float]]
  finished: bool
  examples: int = 0
  seconds: float = 0.0

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

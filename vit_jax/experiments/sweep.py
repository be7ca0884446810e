"""Chooses the learning rate on the dev split, then trains for the score.

The paper's fine-tuning protocol (appendix B.1.1, Table 4; Table 2 for mean and
standard deviation): every rate is trained on the training set without the dev
split, the best on dev is trained on the whole training set with several seeds,
and their mean is reported. The runs follow each other, each in a folder of its
own below the working directory; finished ones are not repeated.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json

from absl import logging
from etils import epath
import jax
from jax.experimental import multihost_utils
from ml_collections import ConfigDict
import numpy as np

from vit_jax.config import schema
from vit_jax.devices.distributed import is_primary
from vit_jax.errors import UsageError, UserError
from vit_jax.experiments.summary import Summary, summarise, summary_cells
from vit_jax.metrics import last_scores
from vit_jax.report.markdown import markdown_table
from vit_jax.training import workdir as workdir_lib
from vit_jax.training.finished import is_finished
from vit_jax.training.loop import train
from vit_jax.training.step_log import TrainingDiverged
from vit_jax.weights.formats.atomic import write_whole

# Table 4; the other data sets have the same list.
PAPER_RATES = {"tfds:imagenet2012": (0.003, 0.01, 0.03, 0.06)}
USUAL_RATES = (0.001, 0.003, 0.01, 0.03)
RECORD = "sweep.json"


@dataclasses.dataclass(frozen=True)
class SweepOutcome:
  """How far a sweep has come; what sweep.json holds.

  Attributes:
    rates: dev accuracy of each rate that was tried, None if it diverged; {}
      where only one rate was given.
    rate: the chosen one, None before that.
    runs: scores of the final runs, "eval/NAME/..." by seed.
    finished: False if it was stopped early (exit code 42: run it again).
  """

  rates: Mapping[float, float | None]
  rate: float | None
  runs: Mapping[int, Mapping[str, float]]
  finished: bool

  def summary(self) -> dict[str, Summary]:
    """Returns the summary of each accuracy of the final runs, by its key."""
    first: Mapping[str, float] = next(iter(self.runs.values()), {})
    return {
        key: summarise(run[key] for run in self.runs.values() if key in run)
        for key in first if "accuracy" in key}


def sweep(
    config: ConfigDict, workdir: str, *, rates: Sequence[float] = (),
    num_seeds: int = 3, dev: str = "dev",
) -> SweepOutcome:
  """Runs the sweep, or resumes it.

  Args:
    config: of one run on the training set without the dev split; its seed is
      that of the rates' runs and of the first of the final ones.
    workdir: of the sweep, local or a bucket.
    rates: to try; () for the paper's. A single one is taken without trying.
    num_seeds: final runs.
    dev: entry of config.evals with the dev split, which decides and is added
      to the training set at the end.

  Raises:
    UsageError: rates or num_seeds are not positive, or there is no such entry.
    UserError: every rate has diverged; and what `train` raises.
  """
  config = schema.resolve(config)
  workdir = workdir_lib.create_workdir(workdir)
  rates = sorted(set(rates or PAPER_RATES.get(
      config.data.source, USUAL_RATES)))
  if rates[0] <= 0 or num_seeds < 1:
    raise UsageError(f"sweep: rates={rates}, seeds={num_seeds}; rates above 0 "
                     "and a number of seeds from 1 were expected")
  if len(rates) > 1 and dev not in config.evals:
    raise UsageError(
        f"sweep: the config has no evals.{dev}, on which a rate could be "
        f"chosen; it has {', '.join(config.evals) or 'none'}. Use the recipe "
        "that holds the dev split out (without ',full'), name another by "
        "--dev, or give a single rate")
  tried: dict[float, float | None] = {}
  runs: dict[int, Mapping[str, float]] = {}
  diverged = _diverged(workdir)
  if len(rates) > 1:
    for rate in rates:
      stopped = False
      if rate in diverged:
        tried[rate] = None
      else:
        stopped = _try_rate(config, workdir, rate, dev, tried)
      outcome = SweepOutcome(tried, None, runs, False)
      _write_record(workdir, outcome)
      if stopped:
        return outcome
  rate = _best(tried) if tried else rates[0]
  for seed in range(config.train.seed, config.train.seed + num_seeds):
    scores = _run(_final_config(config, rate, seed, dev),
                  f"{workdir}/best-{rate:g}-seed-{seed}")
    if scores is None:
      return SweepOutcome(tried, rate, runs, False)
    runs[seed] = scores
    _write_record(
        workdir, SweepOutcome(tried, rate, runs, len(runs) == num_seeds))
  return SweepOutcome(tried, rate, runs, True)


def _try_rate(
    config: ConfigDict, workdir: str, rate: float, dev: str,
    tried: dict[float, float | None],
) -> bool:
  """Adds the rate's dev accuracy to `tried`; returns True if stopped early."""
  try:
    scores = _run(_rate_config(config, rate, dev), f"{workdir}/rate-{rate:g}")
  except TrainingDiverged as error:
    logging.warning("rate %g is left out: %s", rate, error)
    tried[rate] = None
    return False
  if scores is None:
    return True
  tried[rate] = _from_primary(scores.get(f"eval/{dev}/accuracy", np.nan))
  return False


def _run(config: ConfigDict, workdir: str) -> Mapping[str, float] | None:
  """Trains unless that is done; returns the scores, None if stopped early."""
  if _from_primary(is_finished(workdir)):
    workdir_lib.check_same_run(workdir, schema.resolve(config))
    logging.info("%s: done already", workdir)
    return last_scores(workdir)
  result = train(config, workdir)
  return result.scores if result.finished else None


def _rate_config(config: ConfigDict, rate: float, dev: str) -> ConfigDict:
  """Returns the config that tries a rate, with dev as its only evaluation."""
  config = config.copy_and_resolve_references()
  config.optim.learning_rate = rate
  config.evals = {dev: config.evals[dev]}
  return config


def _final_config(
    config: ConfigDict, rate: float, seed: int, dev: str
) -> ConfigDict:
  """Returns the config of a run for the score, on the whole training set."""
  config = config.copy_and_resolve_references()
  config.optim.learning_rate = rate
  config.train.seed = seed
  if dev in config.evals:
    entry = config.evals[dev]
    if entry.source in ("", config.data.source):
      config.data.split = f"{config.data.split}+{entry.split}"
    with config.unlocked():
      del config.evals[dev]
  return config


def _best(tried: Mapping[float, float | None]) -> float:
  """Returns the best rate, the lowest of equally good ones.

  Raises:
    UserError: every rate has diverged.
  """
  kept = {rate: score for rate, score in tried.items()
          if score is not None and np.isfinite(score)}
  if not kept:
    raise UserError(
        f"sweep: no rate of {', '.join(f'{rate:g}' for rate in tried)} could "
        "be trained to its end; try lower --rates")
  return max(sorted(kept), key=kept.__getitem__)


def _from_primary(value: float) -> float:
  """Returns process 0's value, so that every process decides the same."""
  if jax.process_count() == 1:
    return float(value)
  return float(multihost_utils.broadcast_one_to_all(np.float32(value)))


def _diverged(workdir: str) -> set[float]:
  """Returns the rates that diverged in an earlier start of this sweep."""
  path = epath.Path(workdir) / RECORD
  if not path.exists():
    return set()
  return {float(rate) for rate, score in
          json.loads(path.read_text())["rates"].items() if score is None}


def _write_record(workdir: str, outcome: SweepOutcome) -> None:
  """Writes sweep.json and sweep.md."""
  if not is_primary():
    return
  folder = epath.Path(workdir)
  record = dataclasses.asdict(outcome) | {"summary": outcome.summary()}
  write_whole(folder / RECORD, (json.dumps(record, indent=2) + "\n").encode())
  write_whole(folder / "sweep.md", "\n".join(
      markdown_table(header, rows)
      for header, *rows in sweep_tables(outcome)).encode())


def sweep_tables(outcome: SweepOutcome) -> list[list[list[str]]]:
  """Returns up to two tables, each with its header: rates and final scores."""
  tried = [["rate", "dev accuracy", ""]] + [
      [f"{rate:g}", "diverged" if score is None else f"{score:.2%}",
       "chosen" if rate == outcome.rate else ""]
      for rate, score in outcome.rates.items()]
  final = [["score", "mean", "std", "runs"]] + [
      [key.removeprefix("eval/"), *summary_cells(summary)]
      for key, summary in outcome.summary().items()
      if not key.endswith("_std")]
  return [table for table in (tried, final) if len(table) > 1]

"""Chooses the learning rate on the dev split, then trains for the score.

The paper's fine-tuning protocol (appendix B.1.1, Table 4; Table 2 for mean and
spread): every rate is trained on the training set without the dev split, the
best on dev is trained on the whole training set, with several seeds, and what
is reported is their mean. The runs follow each other, each in a folder of its
own below the working directory; one that is finished is not run again.
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
from vit_jax.metrics import last_scores
from vit_jax.training import workdir as workdir_lib
from vit_jax.training.loop import train
from vit_jax.training.step_log import TrainingDiverged

# Table 4; the other data sets share one list.
PAPER_RATES = {"tfds:imagenet2012": (0.003, 0.01, 0.03, 0.06)}
USUAL_RATES = (0.001, 0.003, 0.01, 0.03)
RECORD = "sweep.json"


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How far a sweep has come; what sweep.json holds.

  Attributes:
    rates: dev accuracy of each rate that was tried, None if it diverged; {}
      where there was but one rate.
    rate: the one that was chosen, None before that.
    runs: scores of the final runs, "eval/NAME/..." by seed.
    finished: False if it was told to stop (exit code 42: run it again).
  """

  rates: Mapping[float, float | None]
  rate: float | None
  runs: Mapping[int, Mapping[str, float]]
  finished: bool

  def summary(self) -> dict[str, dict[str, float | None]]:
    """Returns mean, std and runs of each final accuracy, by its key.

    std is the sample standard deviation, None of a single run.
    """
    keys = [key for key in next(iter(self.runs.values()), {})
            if "accuracy" in key]
    values = {key: [run[key] for run in self.runs.values() if key in run]
              for key in keys}
    return {
        key: {"mean": float(np.mean(found)),
              "std": float(np.std(found, ddof=1)) if len(found) > 1 else None,
              "runs": len(found)}
        for key, found in values.items()}


def sweep(
    config: ConfigDict, workdir: str, *, rates: Sequence[float] = (),
    num_seeds: int = 3, dev: str = "dev",
) -> Outcome:
  """Runs the sweep, or goes on with one.

  Args:
    config: of one run on the training set without the dev split; its seed is
      that of the rates' runs and of the first of the final ones.
    workdir: of the sweep, local or a bucket.
    rates: to try; none for the paper's. A single one is not tried but taken.
    num_seeds: final runs.
    dev: which of config.evals holds the dev split: it decides, and is added
      to the training set at the end.

  Raises:
    UsageError: rates or seeds that cannot be, or no such evaluation.
    UserError: every rate has diverged; and what `train` raises.
  """
  config = schema.resolve(config)
  workdir = workdir_lib.prepare(workdir)
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
  given_up = _diverged(workdir)
  if len(rates) > 1:
    for rate in rates:
      stopped = False
      if rate in given_up:
        tried[rate] = None
      else:
        stopped = _try_rate(config, workdir, rate, dev, tried)
      _record(workdir, Outcome(tried, None, runs, False))
      if stopped:
        return Outcome(tried, None, runs, False)
  rate = _best(tried) if tried else rates[0]
  for seed in range(config.train.seed, config.train.seed + num_seeds):
    scores = _run(_final_config(config, rate, seed, dev),
                  f"{workdir}/best-{rate:g}-seed-{seed}")
    if scores is None:
      return Outcome(tried, rate, runs, False)
    runs[seed] = scores
    _record(workdir, Outcome(tried, rate, runs, len(runs) == num_seeds))
  return Outcome(tried, rate, runs, True)


def _try_rate(
    config: ConfigDict, workdir: str, rate: float, dev: str,
    tried: dict[float, float | None],
) -> bool:
  """Adds the rate's dev accuracy to `tried`; returns whether it was stopped."""
  try:
    scores = _run(_rate_config(config, rate, dev), f"{workdir}/rate-{rate:g}")
  except TrainingDiverged as error:
    logging.warning("rate %g is left out: %s", rate, error)
    tried[rate] = None
    return False
  if scores is None:
    return True
  tried[rate] = _agreed(scores.get(f"eval/{dev}/accuracy", np.nan))
  return False


def _run(config: ConfigDict, workdir: str) -> Mapping[str, float] | None:
  """Trains, unless that was done; None if it was told to stop."""
  if _agreed(workdir_lib.is_finished(workdir)):
    workdir_lib.check_same_run(workdir, schema.resolve(config))
    logging.info("%s: done already", workdir)
    return last_scores(workdir)
  result = train(config, workdir)
  return result.scores if result.finished else None


def _rate_config(config: ConfigDict, rate: float, dev: str) -> ConfigDict:
  """Returns the config that tries a rate: only dev is looked at."""
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
  """Returns the best rate, of equal ones the lowest."""
  kept = {rate: score for rate, score in tried.items()
          if score is not None and np.isfinite(score)}
  if not kept:
    raise UserError(
        f"sweep: no rate of {', '.join(f'{rate:g}' for rate in tried)} could "
        "be trained to its end; try lower --rates")
  return max(sorted(kept), key=kept.__getitem__)


def _agreed(value: float) -> float:
  """Returns the first process's value, so that all take the same decision."""
  if jax.process_count() == 1:
    return float(value)
  return float(multihost_utils.broadcast_one_to_all(np.float32(value)))


def _diverged(workdir: str) -> set[float]:
  """Returns the rates that an earlier start of this sweep gave up."""
  path = epath.Path(workdir) / RECORD
  if not path.exists():
    return set()
  return {float(rate) for rate, score in
          json.loads(path.read_text())["rates"].items() if score is None}


def _record(workdir: str, outcome: Outcome) -> None:
  """Writes sweep.json and sweep.md."""
  if not is_primary():
    return
  folder = epath.Path(workdir)
  said = dataclasses.asdict(outcome) | {"summary": outcome.summary()}
  (folder / RECORD).write_text(json.dumps(said, indent=2) + "\n")
  (folder / "sweep.md").write_text(markdown(outcome))


def tables(outcome: Outcome) -> list[list[list[str]]]:
  """Returns two tables, each with its header: rates, and final scores."""
  tried = [["rate", "dev accuracy", ""]] + [
      [f"{rate:g}", "diverged" if score is None else f"{score:.2%}",
       "chosen" if rate == outcome.rate else ""]
      for rate, score in outcome.rates.items()]
  final = [["score", "mean", "std", "runs"]] + [
      [key.removeprefix("eval/"), f"{one['mean']:.2%}",
       "-" if one["std"] is None else f"{one['std']:.2%}", str(one["runs"])]
      for key, one in outcome.summary().items()
      if not key.endswith("_std")]
  return [table for table in (tried, final) if len(table) > 1]


def markdown(outcome: Outcome) -> str:
  """Returns the tables as Markdown."""
  parts = []
  for header, *rows in tables(outcome):
    lines = [header, ["---"] * len(header), *rows]
    parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
  return "\n\n".join(parts) + "\n"

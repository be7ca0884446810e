"""The training run: setup, then one short loop.

Exactly `total` updates. `state.step` is the only counter: the batch, the
dropout masks and the log lines of a step are functions of it, so that a run
that was stopped and one that was left alone end bit for bit the same.
"""

from collections.abc import Iterator
import dataclasses
import time
from typing import Any

from absl import logging
import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict
import numpy as np

from vit_jax import config as config_lib
from vit_jax import report, workdir as workdir_lib
from vit_jax.checkpoint import Checkpointer
from vit_jax.data import loader, sources
from vit_jax.distributed import StopSignal, all_hosts, is_primary
from vit_jax.errors import UserError
from vit_jax.evaluators import make_evaluator
from vit_jax.metrics import (
    MetricWriter, Progress, Timer, describe, duration, last_scores)
from vit_jax.models import cost
from vit_jax.models.variants import make_model, variant_name
from vit_jax.models.vit import VisionTransformer
from vit_jax.objectives import make_loss
from vit_jax.optim import make_optimizer
from vit_jax.sharding import make_mesh, process_rows, put_batch
from vit_jax.train_state import (
    TrainState, abstract_state, create_state, state_maker)
from vit_jax.train_step import make_train_step
from vit_jax.weights.arrays import sha256
from vit_jax.weights.load import find, init_params


class TrainingDiverged(UserError):
  """The loss or the gradient is no longer finite; the run has stopped."""


@dataclasses.dataclass
class Run:
  """Everything that the loop uses; made by `setup`.

  Attributes:
    start: updates completed at the start of this process.
    total: updates of the whole run.
    note: JSON kept with every checkpoint (data fingerprint, start weights).
  """

  config: ConfigDict
  workdir: str
  source: sources.Source
  mesh: Mesh
  model: VisionTransformer
  state: TrainState
  start: int
  total: int
  note: dict[str, Any]
  train_step: Any
  evaluators: dict[str, Any]
  checkpointer: Checkpointer
  timer: Timer


@dataclasses.dataclass(frozen=True)
class Result:
  """How a call of `train` ended.

  Attributes:
    step: updates completed.
    finished: False if it was told to stop (exit code 42: run it again).
    scores: newest "eval/NAME/..." values.
  """

  step: int
  finished: bool
  scores: dict[str, float]


def setup(config: ConfigDict, workdir: str) -> Run:
  """Opens data, builds model and state, restores the newest checkpoint."""
  config = config_lib.resolve(config)
  workdir_lib.check_same_run(workdir, config)
  timer, size = Timer(), config_lib.image_size(config)
  data, options = config.data, config.train
  source = sources.make_source(
      data.source, split=data.split, data_dir=data.data_dir)
  total = config_lib.total_steps(config, len(source))
  mesh = make_mesh(**config.mesh)
  process_rows(mesh, data.batch_size // options.accumulate)
  model = make_model(**(config.model.to_dict() | {
      "num_classes": config.model.num_classes or source.num_classes}))
  if source.num_classes > model.num_classes:
    raise UserError(
        f"{source.name} has {source.num_classes} classes, but "
        f"config.model.num_classes={model.num_classes}")
  loss_fn = make_loss(model, **config.objective)
  optimizer, schedule = make_optimizer(total_steps=total, **config.optim)
  make = state_maker(
      model, optimizer, image_size=size, seed=options.seed,
      ema=options.ema_decay is not None)
  abstract = abstract_state(make, mesh)
  shardings = jax.tree.map(lambda x: x.sharding, abstract)
  evaluators = make_evaluators(config, model, mesh, shardings.params)
  checkpointer = Checkpointer(workdir, **config.checkpoint)
  with timer("restore"):
    restored = checkpointer.restore_latest(abstract)
    if restored is None:
      state, note = fresh_state(config, make, abstract, model, source)
    else:
      state, note = restored
      check_same_data(note, source)
  return Run(
      config=config, workdir=workdir, source=source, mesh=mesh, model=model,
      state=state, start=int(state.step), total=total, note=note,
      train_step=make_train_step(
          loss_fn, optimizer, schedule, seed=options.seed,
          accumulate=options.accumulate, ema_decay=options.ema_decay,
          mesh=mesh, shardings=shardings),
      evaluators=evaluators, checkpointer=checkpointer, timer=timer)


def make_evaluators(
    config: ConfigDict, model: VisionTransformer, mesh: Mesh, shardings: Any
) -> dict[str, Any]:
  """Builds every entry of config.evals; what is left empty is training's."""
  data = config.data
  evaluators = {}
  for name, entry in config.evals.items():
    entry = entry.to_dict()
    entry["data_dir"] = entry["data_dir"] or (
        "" if entry["source"] else data.data_dir)
    entry["source"] = entry["source"] or data.source
    entry["batch_size"] = entry["batch_size"] or data.batch_size
    evaluators[name] = make_evaluator(
        model=model, mesh=mesh, image_size=config_lib.image_size(config),
        shardings=shardings, loss=config.objective.loss,
        num_threads=data.num_threads, max_broken=data.max_broken, **entry)
  return evaluators


def fresh_state(
    config: ConfigDict, make: Any, abstract: TrainState,
    model: VisionTransformer, source: sources.Source,
) -> tuple[TrainState, dict[str, Any]]:
  """Returns the state of step 0, from config.init.path where it is given."""
  note = {"data": sources.fingerprint(source), "init": None}
  if not config.init.path:
    return create_state(make, abstract), note
  file, _ = find(config.init.path)
  params, _ = init_params(
      model=model, image_size=config_lib.image_size(config),
      **(config.init.to_dict() | {"path": file}))
  note["init"] = {"path": config.init.path, "sha256": sha256(file)}
  return create_state(make, abstract, params), note


def check_same_data(note: dict[str, Any], source: sources.Source) -> None:
  """Raises UserError if the checkpoint was trained on other data."""
  if note["data"] != sources.fingerprint(source):
    raise UserError(
        f"{source.name} is not the data set that this run began with (other "
        "examples or classes); restore the data, or use a fresh --workdir")


def train(config: ConfigDict, workdir: str) -> Result:
  """Trains to the end, or until told to stop; resumes what WORKDIR holds.

  Args:
    config: see `vit_jax.config.default_config`.
    workdir: local path or bucket, the same for every process.

  Returns:
    The outcome; a finished run is recognised and left as it is.

  Raises:
    UserError: the config, the data or the checkpoint cannot be used, or the
      loss stopped being finite (TrainingDiverged).
  """
  workdir = workdir_lib.prepare(workdir)
  run = setup(config, workdir)
  if run.start == run.total and workdir_lib.is_finished(workdir):
    logging.info("%s: all %d steps are done; nothing to do", workdir, run.total)
    run.checkpointer.close()
    return Result(run.total, True, last_scores(workdir))
  if is_primary():
    workdir_lib.write_config(workdir, run.config, {"steps": run.total})
  writer = MetricWriter(
      workdir, start_step=run.start, primary=is_primary())
  progress = Progress(start=run.start, total=run.total, primary=is_primary())
  progress.say(headline(run))
  try:
    with StopSignal() as stop:
      finished = loop(run, writer, progress, stop)
    writer.flush()
    scores = last_scores(workdir) if is_primary() else {}
    if finished:
      finish(run, scores)
      progress.say(f"done: {run.workdir}/model.npz" + "".join(
          f"  {k} {v:.4f}" for k, v in scores.items()
          if k.endswith("/accuracy")))
    return Result(int(run.state.step), finished, scores)
  finally:
    progress.close()
    writer.close()
    run.checkpointer.close()


def loop(
    run: Run, writer: MetricWriter, progress: Progress, stop: StopSignal
) -> bool:
  """Runs the steps; returns False if it was told to stop before the end."""
  batches = open_batches(run)
  log = StepLog(run, writer, progress)
  eval_every = run.config.train.eval_every
  try:
    for step in range(run.start, run.total + 1):
      last = step == run.total
      told = stop.requested(step)
      # What a resumed run finds at its first step has been done already.
      fresh = step != run.start
      if fresh and (last or (eval_every and step % eval_every == 0)):
        log.flush()
        evaluate(run, step, writer, progress)
      if fresh and (last or told or run.checkpointer.is_due(step)):
        log.flush()
        writer.flush()
        with run.timer("save"):
          run.checkpointer.save(step, run.state, run.note)
      if last or told:
        break
      with run.timer("data"):
        batch = next(batches)
      with run.timer("compile" if step == run.start else "step"):
        run.state, metrics = run.train_step(run.state, batch)
      # One step late: the device never waits for the host.
      log.flush()
      log.pending = (step + 1, metrics)
      progress.advance()
  finally:
    batches.close()
  if told and not last:
    progress.say(
        f"stopped after step {step} of {run.total}, as told; the state is "
        "saved: the same command goes on from here")
  return last


def open_batches(run: Run) -> Iterator[Any]:
  """Opens the training batches at the run's step, placed on the mesh."""
  data = run.config.data
  rows = process_rows(run.mesh, data.batch_size)
  host = loader.train_batches(
      run.source, preprocess=data.preprocess,
      image_size=config_lib.image_size(run.config),
      batch_size=data.batch_size, seed=run.config.train.seed,
      start_step=run.start, rows=rows, num_threads=data.num_threads,
      num_workers=data.num_workers, max_broken=data.max_broken)
  return loader.prefetch(
      host, lambda batch: put_batch(batch, run.mesh, data.batch_size))


class StepLog:
  """Reads each step's metrics, checks them, and writes every log_every-th."""

  def __init__(
      self, run: Run, writer: MetricWriter, progress: Progress
  ) -> None:
    self.pending: tuple[int, dict[str, jax.Array]] | None = None
    self._run, self._writer, self._progress = run, writer, progress
    self._clock = (run.start, None)
    size = config_lib.image_size(run.config)
    self._flops = cost.train_flops(run.model, size)

  def flush(self) -> None:
    """Reads what is pending; raises TrainingDiverged unless it is finite."""
    if self.pending is None:
      return
    step, metrics = self.pending
    self.pending = None
    values = {k: float(v) for k, v in jax.device_get(metrics).items()}
    for key in ("loss", "grad_norm"):
      if not np.isfinite(values[key]):
        kept = self._run.checkpointer.latest_step()
        raise TrainingDiverged(
            f"train/{key} is {values[key]} at step {step}; stopped. "
            + (f"The checkpoint of step {kept} is kept. " if kept is not None
               else "No checkpoint had been saved yet. ")
            + "Lower config.optim.learning_rate, set config.optim.clip_norm=1 "
            "or lengthen config.optim.warmup_steps")
    every = self._run.config.train.log_every
    if self._clock[1] is None:  # The first step compiles: it does not count.
      self._clock = (step, time.perf_counter())
    if step % every == 0 or step in (1, self._run.total):
      line = {f"train/{k}": v for k, v in values.items()}
      line |= self._speed(step)
      self._writer.write(step, line)
      self._progress.show(step, line)

  def _speed(self, step: int) -> dict[str, float]:
    """Returns images/s, MFU and remaining time since the last log line."""
    since, at = self._clock
    now = time.perf_counter()
    if step <= since:
      return {}
    per_step = (now - at) / (step - since)
    self._clock = (step, now)
    rate = self._run.config.data.batch_size / per_step
    each = rate / self._run.mesh.size
    said = {
        "train/images_per_second": rate,
        "train/images_per_second_per_device": each,
        "train/eta_seconds": per_step * (self._run.total - step)}
    used = cost.mfu(each, self._flops, jax.devices()[0].device_kind)
    if used is not None:
      said["train/mfu"] = used
    return said | {
        f"time/{k}": v for k, v in self._run.timer.seconds.items()}


def evaluate(
    run: Run, step: int, writer: MetricWriter, progress: Progress
) -> None:
  """Writes eval/NAME/... of every evaluator; the average, where one is kept."""
  params = run.state.params if run.state.ema is None else run.state.ema
  for name, evaluator in run.evaluators.items():
    with run.timer("eval"):
      scores = evaluator.run(params)
    writer.write(step, {f"eval/{name}/{k}": v for k, v in scores.items()})
    progress.say(f"step {step}/{run.total}  {name}: " + "  ".join(
        f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}"
        for k, v in scores.items()))


def finish(run: Run, scores: dict[str, float]) -> None:
  """Writes model.npz, model.json and the report."""
  params = run.state.params if run.state.ema is None else run.state.ema
  params = all_hosts(params)
  if not is_primary():
    return
  preprocess = next(
      (e.preprocess for e in run.config.evals.values()), "resize({size})")
  size = config_lib.image_size(run.config)
  workdir_lib.write_model(run.workdir, params, workdir_lib.describe(
      run.model, image_size=size, preprocess=preprocess,
      class_names=run.source.class_names, scores=scores,
      init=run.note["init"], step=run.total))
  if run.config.train.report:
    scored = [name for name, entry in run.config.evals.items()
              if entry.type == "accuracy"]
    if scored:
      report.predict_samples(
          run.workdir, model=run.model, params=params,
          source=run.evaluators[scored[0]].source,
          preprocess=run.config.evals[scored[0]].preprocess, image_size=size)
    report.write_report(run.workdir)


def headline(run: Run) -> str:
  """Says what is about to be trained, on what, from where."""
  size = config_lib.image_size(run.config)
  count = sum(x.size for x in jax.tree.leaves(run.state.params))
  begin = f"from step {run.start}" if run.start else (
      f"from {run.note['init']['path']}" if run.note["init"]
      else "from scratch")
  return (
      f"{variant_name(run.model)} ({count:,} parameters) at "
      f"{size[0]}x{size[1]} on {run.source.name} ({len(run.source):,} "
      f"examples), {begin} to step {run.total}, batch "
      f"{run.config.data.batch_size} over {run.mesh.size} "
      f"{jax.devices()[0].device_kind} device(s)")

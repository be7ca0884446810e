"""The training run: setup, then one short loop.

Exactly `total` updates. `state.step` is the only counter: the batch, the
dropout masks and the log lines of a step are functions of it, so that a run
that was stopped and resumed ends with the same bits as one that was not.
"""

from collections.abc import Iterable
import contextlib
import dataclasses
import functools
import os
import shlex
from typing import Any

from absl import logging
import jax
from ml_collections import ConfigDict

from vit_jax.config.find import load_config
from vit_jax.devices.distributed import (
  StopSignal,
  is_primary,
  to_host_arrays,
  together,
)
from vit_jax.evaluators import run_by_example
from vit_jax.evaluators.passes import Abandoned, abandoned_when
from vit_jax.metrics import last_scores, newest_scores, read_record
from vit_jax.report.write import predict_samples, write_report
from vit_jax.training import restarts
from vit_jax.training import workdir as workdir_lib
from vit_jax.training.finished import is_complete
from vit_jax.training.lock import workdir_lock
from vit_jax.training.metric_writer import MetricWriter
from vit_jax.training.owed import (
    catch_up,
    evaluate_due,
    evaluations_due,
    save,
)
from vit_jax.training.profiling import ProfileWindow
from vit_jax.training.progress import Progress
from vit_jax.training.setup import Run, headline, open_batches, setup
from vit_jax.training.step_log import StepLog
from vit_jax.training.wandb_run import WandbRun
from vit_jax.training.watchdog import Watchdog
from vit_jax.weights.load import load
from vit_jax.weights.loaded import Loaded

SAMPLES = 24  # Images with their predictions in the report.


@dataclasses.dataclass(frozen=True)
class Result:
  """How a call of `train` ended.

  Attributes:
    step: updates completed.
    finished: False if it was stopped early (exit code 42: run it again).
    scores: newest "eval/NAME/..." values.
    workdir: where the run is kept.
  """

  step: int
  finished: bool
  scores: dict[str, float]
  workdir: str = ""

  def model(self, **changes: Any) -> Loaded:
    """Returns the trained model; `changes` are the arguments of `vit_jax.load`.

    Raises:
      CheckpointError: the run was stopped before its end.
    """
    return load(self.workdir, **changes)


def train(config: ConfigDict | str, workdir: str | os.PathLike) -> Result:
  """Trains to the end or until a stop signal, resuming the run in WORKDIR.

  A bar shows the progress on a terminal and in a notebook.

  Args:
    config: what `vit_jax.load_config` returns, or the "configs/FILE.py:ARGS"
      that it takes; see `vit_jax.config.schema.default_config`.
    workdir: local path or bucket, the same for every process.

  Returns:
    How it ended. A finished run is recognised and left unchanged.

  Raises:
    UserError: the config, the data or the checkpoint cannot be used, or the
      loss is no longer finite (TrainingDiverged).
    KeyboardInterrupt: Ctrl-C; the state is saved.
  """
  if not isinstance(config, ConfigDict):
    config = load_config(config)
  given = str(workdir)
  with contextlib.ExitStack() as stack:
    with together():
      workdir = workdir_lib.create_workdir(workdir)
      if is_primary():
        stack.enter_context(workdir_lock(workdir))
    run = setup(config, workdir)
    stack.callback(run.checkpointer.close)
    if catch_up(run) and is_complete(workdir, report=run.train.report):
      logging.info(
          "%s: all %d steps are done; nothing to do", workdir, run.start)
      return Result(run.start, True, last_scores(workdir), workdir)
    restarts.check_progress(workdir, run.start)
    if is_primary():
      workdir_lib.write_config(workdir, run.config, {"steps": run.total})
    wandb_run = None
    if run.train.wandb and is_primary():
      wandb_run = stack.enter_context(contextlib.closing(WandbRun(
          workdir, run.train.wandb, run.config)))
    writer = stack.enter_context(contextlib.closing(MetricWriter(
        workdir, start_step=run.start, primary=is_primary(),
        wandb_run=wandb_run)))
    progress = stack.enter_context(contextlib.closing(Progress(
        start=run.start, total=run.total, primary=is_primary())))
    progress.say(headline(run))
    run.timer.watchdog = Watchdog(run.train.hang_minutes)
    with StopSignal() as stop, run.timer.watchdog:
      finished = loop(run, writer, progress, stop)
    writer.flush()
    scores = last_scores(workdir) if is_primary() else {}
    if finished:
      step, written = finish(run, scores)
      of = "" if step == run.state.step else f" of step {step}, the best"
      progress.say(f"done: {given}/model.npz{of}" + "".join(
          f"  {k} {v:.4f}" for k, v in written.items()
          if k.endswith("/accuracy")))
    elif stop.interrupted:
      raise KeyboardInterrupt
    return Result(int(run.state.step), finished, scores, workdir)


def loop(
    run: Run, writer: MetricWriter, progress: Progress, stop: StopSignal
) -> bool:
  """Runs the steps; returns False if a signal stopped it before the end.

  The state is saved before it is evaluated: neither a short notice nor an
  evaluator costs a step. What a signal prevents is done after the resume.
  """
  log = StepLog(run, writer, progress)
  profile = ProfileWindow(
      run.workdir, run.train.profile_steps,
      primary=is_primary() or run.train.profile_hosts == "all")
  batches = open_batches(run)
  try:
    for step in range(run.start, run.total + 1):
      last = step == run.total or run.watch.stopped
      told = stop.requested(step)
      # What a resumed run finds at its first step has been done already.
      fresh = step != run.start
      due, scores = evaluations_due(run, step)
      # With several processes no one can save once another has failed.
      if fresh and (last or told or run.checkpointer.is_due(step)
                    or (due and jax.process_count() > 1)):
        log.flush()
        writer.flush()
        save(run, step, hurry=told)
      if due or last:
        log.flush()
      last, owed = evaluate_due(
          run, step, due, scores, last,
          None if told else functools.partial(
              evaluate, run, step, writer=writer, progress=progress, stop=stop))
      done = last and not owed
      if last or told or owed:
        break
      profile.at(step, run.state)
      with run.timer("data"):
        batch = next(batches)
      with run.timer("compile" if step == run.start else "step"):
        run.state, metrics = run.program.train_step(run.state, batch)
      # One step late: the device never waits for the host.
      with run.timer("step"):
        log.flush()
      log.pending = (step + 1, metrics)
      progress.advance()
  finally:
    profile.close()
    batches.close()
  if step < run.total and last and done:
    progress.say(f"stopped early, after step {step} of {run.total}: "
                 f"{run.watch.why_stopped()}")
  elif not done:
    progress.say(
        f"stopped after step {step} of {run.total} by a signal; the state is "
        "saved: the same command resumes here")
  return done


def evaluate(
    run: Run, step: int, names: Iterable[str], writer: MetricWriter,
    progress: Progress, stop: StopSignal,
) -> dict[str, float] | None:
  """Evaluates the average where one is kept, and writes eval/NAME/....

  The record keeps single numbers; WORKDIR/eval/NAME.json has the newest
  confusion matrix, accuracy by class and mistakes.

  Args:
    names: keys of run.evaluators.

  Returns:
    All scores, as "NAME/..."; None if a signal has come: the evaluation under
    way is abandoned.
  """
  averaged = run.state.ema is not None
  params = run.state.ema if averaged else run.state.params
  of = " (averaged weights)" if averaged else ""
  every: dict[str, float] = {}
  for name in names:
    try:
      with run.timer("eval"), abandoned_when(stop.here):
        scores, outcomes = run_by_example(run.evaluators[name], params)
        more = {} if outcomes is None else outcomes.scores()
        if outcomes is not None and is_primary():
          workdir_lib.write_outcomes(run.workdir, name, step, scores, outcomes)
    except Abandoned:
      return None
    except Exception:
      if jax.process_count() == 1:
        save(run, step)
      raise
    every |= {f"{name}/{k}": v for k, v in (scores | more).items()}
    writer.write(step, {
        f"eval/{name}/{k}": v for k, v in (scores | more).items()})
    progress.say(f"step {step}/{run.total}  {name}{of}: " + "  ".join(
        f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}"
        for k, v in scores.items()))
  return every


def finish(
    run: Run, scores: dict[str, float]
) -> tuple[int, dict[str, float]]:
  """Writes model.npz and model.json, then the report if it can be made.

  Returns:
    The step whose parameters were written, and their scores.
  """
  step, params = int(run.state.step), (
      run.state.params if run.state.ema is None else run.state.ema)
  best = run.watch.best_step
  if run.train.result == "best" and best not in (None, step):
    step, params = best, run.checkpointer.restore_best(
        run.program.abstract.params)
    scores = newest_scores(
        x for x in read_record(run.workdir) if x["step"] <= step)
  params = to_host_arrays(params)
  if not is_primary():
    return step, scores
  preprocess = next(
      (e.preprocess for e in run.config.evals.values()), "resize({size})")
  workdir_lib.write_model(run.workdir, params, workdir_lib.model_description(
      run.program.model, image_size=run.image_size, preprocess=preprocess,
      class_names=run.source.class_names, scores=scores,
      init=run.note["init"], step=step,
      averaged=run.state.ema is not None, loss=run.config.objective.loss))
  if run.train.report:
    scored = [name for name, entry in run.config.evals.items()
              if entry.type == "accuracy"]
    try:
      if scored:
        predict_samples(
            run.workdir, model=run.program.model, params=params,
            source=run.evaluators[scored[0]].source,
            preprocess=run.config.evals[scored[0]].preprocess,
            image_size=run.image_size, count=SAMPLES,
            mistakes=workdir_lib.read_mistakes(run.workdir, scored[0], step))
      write_report(run.workdir)
    except Exception as error:
      # The run has its result: a page about it must not make it a failure.
      logging.warning(
          "model.npz is written, but the report could not be made (%s: %s); "
          "to make it: python -m vit_jax report --workdir=%s%s",
          type(error).__name__, " ".join(str(error).split()),
          shlex.quote(run.workdir), f" --samples={SAMPLES}" if scored else "")
  return step, scores

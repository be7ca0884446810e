"""The training run: setup, then one short loop.

Exactly `total` updates. `state.step` is the only counter: the batch, the
dropout masks and the log lines of a step are functions of it, so that a run
that was stopped and resumed ends with the same bits as one that was not.
"""

import contextlib
import dataclasses

from absl import logging
from ml_collections import ConfigDict

from vit_jax.devices.distributed import (
  StopSignal,
  is_primary,
  to_host_arrays,
)
from vit_jax.metrics import last_scores
from vit_jax.report.write import predict_samples, write_report
from vit_jax.training import workdir as workdir_lib
from vit_jax.training.metric_writer import MetricWriter
from vit_jax.training.profiling import ProfileWindow
from vit_jax.training.progress import Progress
from vit_jax.training.setup import Run, headline, open_batches, setup
from vit_jax.training.step_log import StepLog


@dataclasses.dataclass(frozen=True)
class Result:
  """How a call of `train` ended.

  Attributes:
    step: updates completed.
    finished: False if it was stopped early (exit code 42: run it again).
    scores: newest "eval/NAME/..." values.
  """

  step: int
  finished: bool
  scores: dict[str, float]


def train(config: ConfigDict, workdir: str) -> Result:
  """Trains to the end or until a stop signal, resuming the run in WORKDIR.

  Args:
    config: see `vit_jax.config.schema.default_config`.
    workdir: local path or bucket, the same for every process.

  Returns:
    How it ended. A finished run is recognised and left unchanged.

  Raises:
    UserError: the config, the data or the checkpoint cannot be used, or the
      loss is no longer finite (TrainingDiverged).
    KeyboardInterrupt: Ctrl-C; the state is saved.
  """
  workdir = workdir_lib.create_workdir(workdir)
  run = setup(config, workdir)
  with contextlib.ExitStack() as stack:
    stack.callback(run.checkpointer.close)
    if run.start == run.total and workdir_lib.is_finished(workdir):
      logging.info(
          "%s: all %d steps are done; nothing to do", workdir, run.total)
      return Result(run.total, True, last_scores(workdir))
    if is_primary():
      workdir_lib.write_config(workdir, run.config, {"steps": run.total})
    writer = stack.enter_context(contextlib.closing(MetricWriter(
        workdir, start_step=run.start, primary=is_primary())))
    progress = stack.enter_context(contextlib.closing(Progress(
        start=run.start, total=run.total, primary=is_primary())))
    progress.say(headline(run))
    with StopSignal() as stop:
      finished = loop(run, writer, progress, stop)
    writer.flush()
    scores = last_scores(workdir) if is_primary() else {}
    if finished:
      finish(run, scores)
      progress.say(f"done: {run.workdir}/model.npz" + "".join(
          f"  {k} {v:.4f}" for k, v in scores.items()
          if k.endswith("/accuracy")))
    elif stop.interrupted:
      raise KeyboardInterrupt
    return Result(int(run.state.step), finished, scores)


def loop(
    run: Run, writer: MetricWriter, progress: Progress, stop: StopSignal
) -> bool:
  """Runs the steps; returns False if a signal stopped it before the end."""
  log = StepLog(run, writer, progress)
  profile = ProfileWindow(
      run.workdir, run.train.profile_steps, primary=is_primary())
  eval_every = run.train.eval_every
  batches = open_batches(run)
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
  if told and not last:
    progress.say(
        f"stopped after step {step} of {run.total} by a signal; the state is "
        "saved: the same command resumes here")
  return last


def evaluate(
    run: Run, step: int, writer: MetricWriter, progress: Progress
) -> None:
  """Evaluates the average where one is kept, and writes eval/NAME/...."""
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
  params = to_host_arrays(params)
  if not is_primary():
    return
  preprocess = next(
      (e.preprocess for e in run.config.evals.values()), "resize({size})")
  workdir_lib.write_model(run.workdir, params, workdir_lib.model_description(
      run.program.model, image_size=run.image_size, preprocess=preprocess,
      class_names=run.source.class_names, scores=scores,
      init=run.note["init"], step=run.total))
  if run.train.report:
    scored = [name for name, entry in run.config.evals.items()
              if entry.type == "accuracy"]
    if scored:
      predict_samples(
          run.workdir, model=run.program.model, params=params,
          source=run.evaluators[scored[0]].source,
          preprocess=run.config.evals[scored[0]].preprocess,
          image_size=run.image_size)
    write_report(run.workdir)

"""Which evaluations are due at a step, those owed by a stopped run included."""

from collections.abc import Callable
import json

from vit_jax.devices.distributed import text_from_primary
from vit_jax.metrics import read_record
from vit_jax.training.setup import Run


def evaluations_due(
    run: Run, step: int, *, at_end: bool = False
) -> tuple[list[str], dict[str, float]]:
  """Returns what is to be evaluated after `step` updates, and what has been.

  Args:
    run: the run.
    step: updates completed.
    at_end: ask for the entries that wait for the last step, which this is; else
      for the others.

  The state is saved before it is evaluated, so a resumed run may find at its
  first step that none or only some of the scores are in the record.

  Returns:
    The names of the evaluators to run; and the scores that are known already,
    as "NAME/...".
  """
  every = run.train.eval_every
  if not step or (step != run.total and not at_end
                  and not (every and step % every == 0)):
    return [], {}
  names = [name for name in run.evaluators
           if run.config.evals[name].at_end == at_end]
  if step != run.start:
    return names, {}
  found = {key.removeprefix("eval/"): value
           for line in read_record(run.workdir) if line["step"] == step
           for key, value in line.items() if key.startswith("eval/")}
  # The other processes may read an older record.
  found = json.loads(text_from_primary(json.dumps(found)))
  found = {key: value for key, value in found.items()
           if key.split("/")[0] in names}
  done = {key.split("/")[0] for key in found}
  return [name for name in names if name not in done], found


def take_in(run: Run, step: int, scores: dict[str, float]) -> bool:
  """Shows a step's scores to the run's watch, once; tells if it is the best."""
  if run.note.get("evaluated") == step:
    return False
  best = run.watch.update(step, scores)
  run.note["evaluated"] = step
  run.checkpointer.best_step = run.watch.best_step
  return best


def catch_up(run: Run) -> bool:
  """Takes in scores of the first step that its checkpoint does not know.

  A checkpoint is older than the scores of its step: those are in the record.

  Returns:
    Whether the run has done its steps.
  """
  due, scores = evaluations_due(run, run.start)
  if scores and not due:
    take_in(run, run.start, scores)
  return run.start == run.total or run.watch.stopped


def evaluate_due(
    run: Run, step: int, due: list[str], scores: dict[str, float], last: bool,
    evaluate: Callable[[list[str]], dict[str, float] | None] | None,
) -> tuple[bool, bool]:
  """Does a step's evaluations, and after the last step those that wait for it.

  Args:
    due, scores: see `evaluations_due`.
    last: whether the run ends with this step.
    evaluate: returns the scores of evaluators, None if it was told to stop;
      None where the run has been told before.

  Returns:
    Whether the run ends with this step, as the scores may want it to.
    Whether something is owed to a resumed run; the state is saved then.
  """
  evaluate = evaluate or (lambda _: None)
  new = evaluate(due) if due else {}
  owed = new is None
  if new is not None and (scores | new):
    last = watch(run, step, scores | new) or last
  if last and not owed:
    late, _ = evaluations_due(run, step, at_end=True)
    owed = bool(late) and evaluate(late) is None
  if owed:
    save(run, step, hurry=True)
  return last, owed


def watch(run: Run, step: int, scores: dict[str, float]) -> bool:
  """Takes in a step's scores; saves the best; tells whether to end early."""
  if take_in(run, step, scores) or run.watch.stopped:
    save(run, step)
  return run.watch.stopped


def save(run: Run, step: int, *, hurry: bool = False) -> None:
  """Saves the state; see `Checkpointer.save`."""
  with run.timer("save"):
    run.checkpointer.save(step, run.state, run.note, hurry=hurry)

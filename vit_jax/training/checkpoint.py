"""Saving and resuming over Orbax: asynchronous, atomic, any mesh to any.

A checkpoint holds the whole TrainState and a small JSON note about the run,
with a checksum of every array, which is verified when it is restored.
"""

from collections.abc import Callable
from typing import Any

from absl import logging
from etils import epath
import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from vit_jax.config.sections import CheckpointConfig
from vit_jax.devices.distributed import any_process, is_primary
from vit_jax.errors import (
    CheckpointError,
    SaveError,
    UnreachableError,
    one_line,
)
from vit_jax.paths import absolute
from vit_jax.training import orbax_noise, stored_step
from vit_jax.training.orbax_threads import (
    Writers,
    ends_within,
    stall_of_job,
    tell_of_failures,
)
from vit_jax.training.save_clock import SaveClock
from vit_jax.training.state import TrainState
from vit_jax.training.stored_params import restore_params
from vit_jax.training.stored_step import Fault

# Seconds that training waits for an earlier save before it puts one off.
_PATIENCE = 1.0
# Seconds that closing gives the writers that are left after one has failed.
_LAST_WRITES = 60.0


class Checkpointer:
  """Keeps the checkpoints of one working directory."""

  def __init__(
      self,
      workdir: str,
      *,
      save_every: int = CheckpointConfig.save_every,
      save_minutes: float = CheckpointConfig.save_minutes,
      keep: int = CheckpointConfig.keep,
      keep_every: int | None = CheckpointConfig.keep_every,
      keep_best: str = CheckpointConfig.keep_best,
  ) -> None:
    """Opens (and creates) WORKDIR/checkpoints.

    Args:
      workdir: of the run.
      save_every: steps between saves, 0 for none by steps.
      save_minutes: time between saves, 0 for none by the clock.
      keep: how many of the latest checkpoints stay.
      keep_every: steps whose multiples stay for good, None for none.
      keep_best: where it is not "", the checkpoint of `best_step` stays, too;
        see `vit_jax.training.watch`.
    """
    self.save_every = save_every
    policies: list[Any] = [checkpoint_managers.LatestN(keep)]
    self._best = stored_step.OneStep()
    if keep_best:
      policies.append(self._best)
    if keep_every:
      policies.append(checkpoint_managers.EveryNSteps(keep_every))
    options = ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
        async_options=ocp.AsyncOptions(timeout_secs=1200),
        single_host_load_and_broadcast=True,  # One listing, not one a host.
        # The loop decides when to save and asks every process to.
        enable_should_save_is_saving_in_progress_check=False)
    folder = epath.Path(absolute(workdir)) / "checkpoints"
    if is_primary():
      stored_step.remove_unfinished(folder)
    orbax_noise.drop_late_tracebacks()
    self._writers = Writers()
    self._stalled = False
    self._manager = ocp.CheckpointManager(folder, options=options)
    self._failures: list[BaseException] = []
    if jax.process_count() > 1:
      tell_of_failures(self._manager, self._failures.append)
    self._clock = SaveClock(save_minutes)
    self._put_off_to: int | None = None
    # Whether a checkpoint of this directory is known to be readable.
    self._proved = False

  def is_due(self, step: int) -> bool:
    """Tells whether the state after `step` updates is to be saved.

    It is where the schedule or the clock says so, unless an earlier save is
    still running: then this one is put off instead of waiting for it.
    """
    by_steps = self.save_every > 0 and step % self.save_every == 0
    by_clock = self._clock.is_due(step)
    if not (by_steps or by_clock or step == self._put_off_to):
      return False
    self._put_off_to = None
    if any_process(bool(self._failures)):
      self._wait()  # Which raises.
    if any_process(
        not ends_within(_PATIENCE, self._manager.is_saving_in_progress)):
      self._put_off_to = step + max(1, self.save_every // 20)
      logging.info("step %d is not saved: the save before is still running",
                   step)
      return False
    return True

  @property
  def best_step(self) -> int | None:
    """The step whose checkpoint stays beside the newest; to be set."""
    return self._best.number

  @best_step.setter
  def best_step(self, step: int | None) -> None:
    self._best.number = step

  def latest_step(self) -> int | None:
    """Returns the newest complete checkpoint's step, or None."""
    return self._manager.latest_step()

  def save(
      self, step: int, state: TrainState, note: dict[str, Any], *,
      hurry: bool = False,
  ) -> None:
    """Starts to save; the state may be donated as soon as this returns.

    The first checkpoint of a directory is read back before this returns, so
    that storage that cannot be relied on is noticed at once.

    Args:
      step: updates completed.
      state: the whole.
      note: JSON that is kept with it.
      hurry: the process is about to be stopped; nothing is read back.

    Raises:
      CheckpointError: an earlier save in the background has failed, or this
        step cannot be written, or not be read back.
    """
    self._wait()  # As Orbax would, but not for one that has failed.
    try:
      if step in self._manager.all_steps():
        return
      sealed = stored_step.seal(note, state)
      saved = self._manager.save(step, args=ocp.args.Composite(
          state=ocp.args.StandardSave(state), note=ocp.args.JsonSave(sealed)))
    # Storage fails with errors of many types; they share no base class.
    except Exception as error:
      raise SaveError(
          f"checkpoint of step {step} cannot be written: "
          f"{one_line(error)}") from error
    if not saved:
      raise CheckpointError(f"checkpoint of step {step} was refused by Orbax")
    self._clock.restart(step)
    if not self._proved and not hurry:
      self._wait()
      self._prove(step, state, sealed)

  def _prove(self, step: int, state: TrainState, note: dict[str, Any]) -> None:
    """Raises CheckpointError unless a checkpoint holds what was written."""
    fault = stored_step.read_back(self._folder(step), state, note)
    if any_process(fault is not None):
      raise CheckpointError(
          f"checkpoint {self._folder(step)} was written but cannot be read "
          f"back ({fault or 'by another process'}); use a --workdir on storage "
          "that can be relied on")
    self._proved = True

  def _folder(self, step: int) -> epath.Path:
    """Returns the folder of a step."""
    return epath.Path(self._manager.directory) / str(step)

  def restore_latest(
      self, abstract: TrainState
  ) -> tuple[TrainState, dict[str, Any]] | None:
    """Restores the newest sound checkpoint onto the shardings of `abstract`.

    Damaged ones are named in a warning and put aside, into WORKDIR/damaged,
    once an earlier one has been restored.

    Returns:
      (state, note), or None where there is no checkpoint.

    Raises:
      CheckpointError: the checkpoints are of another model or optimiser, or
        none of them can be read.
    """
    faults: dict[int, Fault] = {}
    for step in sorted(self._manager.all_steps(), reverse=True):
      restored, fault = stored_step.restore(self._folder(step), abstract)
      if not any_process(restored is None):
        self._set_aside(faults, step)
        logging.info(
            "restored step %d from %s", step, self._manager.directory)
        self._proved = True
        return restored
      if any_process(fault is not None and fault.unread):
        reason = fault.text if fault else "so says another process"
        raise UnreachableError(
            f"checkpoint {self._folder(step)} cannot be read now ({reason}); "
            "it stays as it is: repeat the command when it can")
      faults[step] = fault or Fault("so says another process")
      restored = None  # Before the next one needs its memory.
    for step, fault in faults.items():
      if fault.foreign:
        raise CheckpointError(
            f"checkpoint {self._folder(step)} cannot be restored into this "
            f"model and optimiser: {fault.text}; use the config that wrote it, "
            "or a fresh --workdir")
    if faults:
      each = "; ".join(f"step {s}: {f.text}" for s, f in faults.items())
      raise CheckpointError(
          f"no checkpoint in {self._manager.directory} can be restored "
          f"({each[:600]}); bring them back from a copy, or begin again in a "
          "fresh --workdir")
    return None

  def _set_aside(self, faults: dict[int, Fault], sound: int) -> None:
    """Moves damaged steps out of the way of those that will follow."""
    for step, fault in faults.items():
      where = stored_step.put_aside(self._folder(step))
      logging.warning(
          "checkpoint %s is damaged (%s): it was %s, and the run goes on from "
          "step %d", self._folder(step), fault.text, where, sound)
    if faults:
      any_process(False)  # Process 0 has moved them.
      self._manager.reload()

  def restore_best(self, abstract: Any) -> Any:
    """Restores the parameters (the average, if kept) of `best_step`.

    Args:
      abstract: parameters with shapes, dtypes and shardings.

    Raises:
      CheckpointError: its checkpoint is missing or cannot be read.
    """
    step, folder = self.best_step, self._manager.directory
    try:
      self._wait()
      if step not in self._manager.all_steps():
        raise FileNotFoundError("there is no such checkpoint")
      return restore_params(str(folder / str(step)), abstract)
    # Damage shows as almost any error.
    except Exception as error:
      raise CheckpointError(
          f"checkpoint {folder}/{step}, the best one, cannot be read: "
          f"{one_line(error)}; set config.train.result=last for the weights of "
          "the last step") from error

  def close(self) -> None:
    """Waits for saves under way and closes.

    Raises:
      CheckpointError: a save in the background has failed.
    """
    if self._stalled and jax.process_count() > 1:
      return  # What is left waits for processes that wait for this one.
    try:
      self._wait(bool)
    finally:
      if not self._stalled:
        self._manager.close()
      self._writers.join(_LAST_WRITES)

  def _wait(self, agree: Callable[[bool], bool] = any_process) -> None:
    """Waits for saves under way; CheckpointError if one has failed.

    Args:
      agree: whether something holds in any process. `bool` asks this one
        alone: at the end of a run, the others may be elsewhere.
    """
    in_progress = self._manager.is_saving_in_progress
    self._stalled = (
        self._writers.stall(in_progress) if jax.process_count() == 1
        else stall_of_job(in_progress, self._failures, agree))
    try:
      if self._failures:
        raise self._failures[0]
      if self._stalled:
        raise SaveError("a part of it has failed, and the rest waits for it")
      self._manager.wait_until_finished()
      self._manager.check_for_errors()
    except Exception as error:  # As in `save`.
      raise SaveError(
          f"a checkpoint in {self._manager.directory} could not be written: "
          f"{one_line(error)}") from error

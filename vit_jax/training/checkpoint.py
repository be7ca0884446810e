"""Saving and resuming over Orbax: asynchronous, atomic, any mesh to any.

A checkpoint holds the whole TrainState and a small JSON note about the run.
"""

from collections.abc import Sequence
import copy
import threading
from typing import Any

from absl import logging
import chex
from etils import epath
import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from vit_jax.config.schema import CheckpointConfig
from vit_jax.devices.distributed import is_primary
from vit_jax.errors import CheckpointError, SaveError
from vit_jax.paths import absolute
from vit_jax.training.state import TrainState

# Seconds that closing gives the writers that are left after one has failed.
_LAST_WRITES = 60.0


class Checkpointer:
  """Keeps the checkpoints of one working directory."""

  def __init__(
      self,
      workdir: str,
      *,
      save_every: int = CheckpointConfig.save_every,
      keep: int = CheckpointConfig.keep,
      keep_every: int | None = CheckpointConfig.keep_every,
      keep_best: str = CheckpointConfig.keep_best,
  ) -> None:
    """Opens (and creates) WORKDIR/checkpoints.

    Args:
      workdir: of the run.
      save_every: steps between saves.
      keep: how many of the latest checkpoints stay.
      keep_every: steps whose multiples stay for good, None for none.
      keep_best: where it is not "", the checkpoint of `best_step` stays, too;
        see `vit_jax.training.watch`.
    """
    self.save_every = save_every
    policies: list[Any] = [checkpoint_managers.LatestN(keep)]
    self._best = _Step()
    if keep_best:
      policies.append(self._best)
    if keep_every:
      policies.append(checkpoint_managers.EveryNSteps(keep_every))
    options = ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
        async_options=ocp.AsyncOptions(timeout_secs=1200),
        # The loop decides when to save and asks every process to.
        enable_should_save_is_saving_in_progress_check=False)
    folder = epath.Path(absolute(workdir)) / "checkpoints"
    if is_primary():
      _remove_unfinished(folder)
    self._earlier_threads = set(threading.enumerate())
    self._manager = ocp.CheckpointManager(folder, options=options)

  def is_due(self, step: int) -> bool:
    """Tells whether the schedule wants a save after `step` updates."""
    return self.save_every > 0 and step % self.save_every == 0

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

  def save(self, step: int, state: TrainState, note: dict[str, Any]) -> None:
    """Starts to save; the state may be donated as soon as this returns.

    Raises:
      CheckpointError: an earlier save in the background has failed, or this
        step cannot be written.
    """
    try:
      self._manager.check_for_errors()
      if step in self._manager.all_steps():
        return
      saved = self._manager.save(step, args=ocp.args.Composite(
          state=ocp.args.StandardSave(state),
          # A copy: it is written in the background, and the run's changes.
          note=ocp.args.JsonSave(copy.deepcopy(note))))
    except (OSError, ValueError) as error:
      raise SaveError(
          f"checkpoint of step {step} cannot be written: {error}") from error
    if not saved:
      raise CheckpointError(f"checkpoint of step {step} was refused by Orbax")

  def restore_latest(
      self, abstract: TrainState
  ) -> tuple[TrainState, dict[str, Any]] | None:
    """Restores the newest checkpoint onto the shardings of `abstract`.

    Returns:
      (state, note), or None where there is no checkpoint.

    Raises:
      CheckpointError: the checkpoint is of another model or optimiser, or
        cannot be read.
    """
    step = self._manager.latest_step()
    if step is None:
      return None
    try:
      restored = self._manager.restore(step, args=ocp.args.Composite(
          state=ocp.args.StandardRestore(abstract),
          note=ocp.args.JsonRestore()))
      chex.assert_trees_all_equal_shapes_and_dtypes(
          restored["state"], abstract)
    except (AssertionError, ValueError, KeyError, OSError) as error:
      first = str(error).strip().splitlines()[0][:300]
      raise CheckpointError(
          f"checkpoint {self._manager.directory}/{step} cannot be restored "
          f"into this model and optimiser: {first}; use the config that wrote "
          "it, or a fresh --workdir") from error
    logging.info("restored step %d from %s", step, self._manager.directory)
    return restored["state"], restored["note"]

  def restore_best(self, abstract: Any) -> Any:
    """Restores the parameters (the average, if kept) of `best_step`.

    Args:
      abstract: parameters with shapes, dtypes and shardings.

    Raises:
      CheckpointError: its checkpoint is missing or cannot be read.
    """
    step, folder = self.best_step, self._manager.directory
    try:
      self._manager.wait_until_finished()
      if step not in self._manager.all_steps():
        raise FileNotFoundError("there is no such checkpoint")
      return restore_params(str(folder / str(step)), abstract)
    except (ValueError, KeyError, OSError) as error:
      first = str(error).strip().splitlines()[0][:300]
      raise CheckpointError(
          f"checkpoint {folder}/{step}, the best one, cannot be read: {first}; "
          "set config.train.result=last for the weights of the last step"
      ) from error

  def close(self) -> None:
    """Waits for saves under way and closes.

    Raises:
      CheckpointError: a save in the background has failed.
    """
    try:
      self._manager.wait_until_finished()
      self._manager.check_for_errors()
    except (OSError, ValueError) as error:
      raise SaveError(
          f"a checkpoint in {self._manager.directory} could not be written: "
          f"{error}") from error
    finally:
      self._manager.close()
      self._join_writers()

  def _join_writers(self) -> None:
    """Waits for threads that still write.

    When one of them fails, Orbax waits for no other: they would write into a
    directory that the caller believes to be at rest.
    """
    for thread in set(threading.enumerate()) - self._earlier_threads:
      if type(thread).__module__.startswith("orbax."):
        # Not its own join(), which raises the thread's error once more.
        threading.Thread.join(thread, _LAST_WRITES)


class _Step(checkpoint_managers.PreservationPolicy):
  """Preserves one step. Orbax's own policy of the best would need metrics with
  every checkpoint, also with those between two evaluations.
  """

  number: int | None = None

  def should_preserve(
      self, checkpoints: Sequence[Any], *, context: Any
  ) -> Sequence[bool]:
    """Returns which of these checkpoints are to stay."""
    del context
    return [info.step == self.number for info in checkpoints]


def _remove_unfinished(folder: epath.Path) -> None:
  """Removes saves that a killed run has not completed.

  Orbax's own cleanup_tmp_directories does the same in a thread that outlives
  a manager which saves nothing, and then logs errors of a later time.
  """
  for path in folder.iterdir() if folder.exists() else ():
    if ocp.utils.is_tmp_checkpoint(path):
      path.rmtree()


def restore_params(path: str, abstract: Any) -> Any:
  """Restores parameters (the average, if kept) of an Orbax checkpoint.

  Args:
    path: a step's folder, .../checkpoints/STEP.
    abstract: parameters with shapes, dtypes and shardings.
  """
  with ocp.PyTreeCheckpointer() as checkpointer:
    folder = epath.Path(absolute(path)) / "state"
    tree = checkpointer.metadata(folder).item_metadata.tree
    key = "ema" if tree.get("ema") else "params"
    item = {key: abstract}
    restored = checkpointer.restore(folder, args=ocp.args.PyTreeRestore(
        item=item, partial_restore=True,
        restore_args=ocp.checkpoint_utils.construct_restore_args(item)))
  return jax.tree.map(lambda x: x, restored[key])

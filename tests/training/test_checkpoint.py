"""Checkpoints are whole or absent, and a closed checkpointer is done."""

import json
import shutil
import threading
import time

import chex
import jax
import jax.numpy as jnp
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.training.checkpoint import Checkpointer
from vit_jax.training.state import TrainState


def state(value=1.0):
  return TrainState(
      step=jnp.zeros((), jnp.int32), params={"w": jnp.full(3, value)},
      opt_state=(), ema=None)


def abstract(of):
  return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), of)


def test_an_unused_checkpointer_leaves_no_thread(tmp_path, caplog):
  # Its thread would remove unfinished saves, and log that the directory is
  # gone where it comes too late.
  before = set(threading.enumerate())
  for i in range(5):
    checkpointer = Checkpointer(str(tmp_path / str(i)))
    checkpointer.close()
    assert set(threading.enumerate()) == before
    shutil.rmtree(tmp_path / str(i))
  assert not [r for r in caplog.records if r.levelname == "ERROR"]


def test_closing_waits_for_the_save_under_way(tmp_path):
  checkpointer = Checkpointer(str(tmp_path))
  checkpointer.save(3, state(), {"note": 1})
  checkpointer.close()
  assert (tmp_path / "checkpoints" / "3" / "_CHECKPOINT_METADATA").exists()


def test_unfinished_saves_of_a_killed_run_are_removed(tmp_path):
  checkpointer = Checkpointer(str(tmp_path))
  checkpointer.save(3, state(2.0), {"note": 1})
  checkpointer.close()
  folder = tmp_path / "checkpoints"
  shutil.copytree(folder / "3", folder / "5.orbax-checkpoint-tmp")
  checkpointer = Checkpointer(str(tmp_path))
  assert sorted(path.name for path in folder.iterdir()) == ["3"]
  restored, note = checkpointer.restore_latest(abstract(state()))
  checkpointer.close()
  chex.assert_trees_all_equal(restored, state(2.0))
  assert note == {"note": 1}


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
  checkpointer = Checkpointer(str(tmp_path))
  checkpointer.save(3, state(), {})
  other = state().replace(params={"v": jnp.ones(4)})
  with pytest.raises(CheckpointError, match="/3 cannot be restored into this"):
    checkpointer.restore_latest(abstract(other))
  checkpointer.close()


def test_names_in_a_checkpoint_never_change(tmp_path):
  # Or checkpoints of earlier versions could not be resumed.
  checkpointer = Checkpointer(str(tmp_path))
  checkpointer.save(3, state().replace(ema={"w": jnp.zeros(3)}), {})
  checkpointer.close()
  stored = json.loads(
      (tmp_path / "checkpoints/3/state/_METADATA").read_text())
  assert set(stored["tree_metadata"]) == {
      "('step',)", "('params', 'w')", "('opt_state',)", "('ema', 'w')"}


def test_other_shapes_are_refused(tmp_path):
  checkpointer = Checkpointer(str(tmp_path))
  checkpointer.save(3, state(), {})
  other = abstract(state().replace(params={"w": jnp.ones(4)}))
  with pytest.raises(CheckpointError, match="/3 cannot be restored into this"):
    checkpointer.restore_latest(other)
  checkpointer.close()


def test_after_a_failed_save_no_writer_is_left(tmp_path, monkeypatch):
  run, writers = threading.Thread.run, []

  def fail(thread):
    if thread.name == "json_ch_save":
      raise OSError("the disk is full")
    if thread.name == "array_type_handler":
      writers.append(thread)
      time.sleep(1)
    run(thread)

  monkeypatch.setattr(threading.Thread, "run", fail)
  checkpointer = Checkpointer(str(tmp_path))
  # In a hurry: otherwise the first save is waited for and read back.
  checkpointer.save(3, state(), {"note": 1}, hurry=True)
  with pytest.raises(CheckpointError, match="the disk is full"):
    checkpointer.close()
  assert writers and not any(thread.is_alive() for thread in writers)

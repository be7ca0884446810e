"""What is restored is what was written, or the checkpoint before it."""

import logging
import os
import pathlib
import shutil
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.errors import CheckpointError, UsageError
from vit_jax.training import checkpoint, save_clock, stored_step
from vit_jax.training.checkpoint import Checkpointer
from vit_jax.training.checksums import checksums
from vit_jax.training.state import TrainState
from vit_jax.training.stored_params import restore_params
from vit_jax.training.workdir import create_workdir


def state(value):
  # Random bits: nothing of them is compressed, so every byte counts.
  bits = np.random.default_rng(value).random((64, 64), np.float32)
  return TrainState(
      step=jnp.asarray(value, jnp.int32), params={"w": jnp.asarray(bits)},
      opt_state=({"mu": jnp.asarray(bits, jnp.bfloat16)},), ema=None)


def abstract():
  return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
      state(0))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  """A directory with the checkpoints of steps 20 and 25."""
  folder = tmp_path_factory.mktemp("written")
  checkpointer = Checkpointer(str(folder))
  for step in (20, 25):
    checkpointer.save(step, state(step), {"data": "digits", "init": None})
  checkpointer.close()
  return folder


@pytest.fixture
def workdir(written, tmp_path):
  shutil.copytree(written, tmp_path, dirs_exist_ok=True)
  return tmp_path


def restore(workdir):
  checkpointer = Checkpointer(str(workdir))
  try:
    return checkpointer.restore_latest(abstract())
  finally:
    checkpointer.close()


def data_files(workdir, step=25):
  folder = workdir / "checkpoints" / str(step) / "state/ocdbt.process_0/d"
  return sorted(folder.iterdir(), key=lambda path: -path.stat().st_size)


def flip(path, at, bit=3):
  data = bytearray(path.read_bytes())
  data[int(at * len(data))] ^= 1 << bit
  path.write_bytes(bytes(data))


def flip_data(workdir):
  flip(data_files(workdir)[0], 0.5)


def halve_data(workdir):
  path = data_files(workdir)[0]
  path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


def remove_data(workdir):
  data_files(workdir)[0].unlink()


def flip_note(workdir):
  path = workdir / "checkpoints/25/note/metadata"
  path.write_text(path.read_text().replace("digits", "digitz"))


def break_names(workdir):
  (workdir / "checkpoints/25/state/_METADATA").write_text("{")


def remove_manifest(workdir):
  (workdir / "checkpoints/25/state/manifest.ocdbt").unlink()


def empty_folder(workdir):
  (workdir / "checkpoints/30").mkdir()


@pytest.mark.parametrize("damage, step", [
    (flip_data, 25), (halve_data, 25), (remove_data, 25), (flip_note, 25),
    (break_names, 25), (remove_manifest, 25), (empty_folder, 30)])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(
    workdir, damage, step, caplog):
  damage(workdir)
  sound = 20 if step == 25 else 25
  with caplog.at_level(logging.WARNING, logger="absl"):
    restored, note = restore(workdir)
  chex.assert_trees_all_equal(restored, state(sound))
  assert note == {"data": "digits", "init": None}
  said = [r.getMessage() for r in caplog.records if "is damaged" in r.message]
  assert len(said) == 1 and "\n" not in said[0]
  assert f"checkpoints/{step} is damaged" in said[0]
  assert f"goes on from step {sound}" in said[0]
  # Out of the way of the step that will be saved again, but not lost.
  assert not (workdir / "checkpoints" / str(step)).exists()
  assert (workdir / "damaged" / str(step)).is_dir()
  checkpointer = Checkpointer(str(workdir))
  checkpointer.save(step, state(step), {})
  chex.assert_trees_all_equal(
      checkpointer.restore_latest(abstract())[0], state(step))
  checkpointer.close()


def test_with_all_of_them_damaged_the_run_stops_and_names_each(workdir):
  flip_data(workdir)
  flip(data_files(workdir, 20)[0], 0.4)
  with pytest.raises(CheckpointError, match=r"step 25: .*step 20: ") as error:
    restore(workdir)
  assert "\n" not in str(error.value)
  assert (workdir / "checkpoints/25").is_dir()


def test_parameters_alone_are_verified_too(workdir):
  place = str(workdir / "checkpoints/25")
  chex.assert_trees_all_equal(
      restore_params(place, abstract().params), state(25).params)
  for path in data_files(workdir):
    for at in (0.3, 0.6, 0.9):
      flip(path, at)
  with pytest.raises(Exception):  # noqa: B017
    restore_params(place, abstract().params)


def test_checkpoints_without_checksums_are_restored(tmp_path, monkeypatch):
  monkeypatch.setattr(stored_step, "seal", lambda note, _: note)
  monkeypatch.setattr(stored_step, "read_back", lambda *_: None)
  checkpointer = Checkpointer(str(tmp_path))
  checkpointer.save(3, state(3), {"old": True})
  restored, note = checkpointer.restore_latest(abstract())
  checkpointer.close()
  chex.assert_trees_all_equal(restored, state(3))
  assert note == {"old": True}


def test_the_first_checkpoint_is_read_back_and_only_the_first(
    tmp_path, monkeypatch):
  read, real = [], stored_step.read_back
  monkeypatch.setattr(stored_step, "read_back",
                      lambda *a: read.append(a[0].name) or real(*a))
  monkeypatch.setattr(stored_step, "_GROUP_BYTES", 1)
  checkpointer = Checkpointer(str(tmp_path))
  for step in (1, 2):
    checkpointer.save(step, state(step), {})
  checkpointer.close()
  assert read == ["1"]


def test_storage_that_loses_bits_is_noticed_at_the_first_save(
    tmp_path, monkeypatch):
  real = Checkpointer._wait

  def wait(self, *agree):
    real(self, *agree)
    if (tmp_path / "checkpoints/1").exists():
      flip(data_files(tmp_path, 1)[0], 0.5)

  monkeypatch.setattr(Checkpointer, "_wait", wait)
  checkpointer = Checkpointer(str(tmp_path))
  with pytest.raises(CheckpointError, match="cannot be read back"):
    checkpointer.save(1, state(1), {})
  checkpointer.close()


@pytest.mark.parametrize("name", ["run[1]", "a]b", "a\\b"])
def test_paths_that_the_storage_misreads_are_refused(tmp_path, name):
  with pytest.raises(UsageError, match="could not be restored"):
    create_workdir(str(tmp_path / name))
  assert not list(tmp_path.iterdir())
  create_workdir(str(tmp_path / "{a} *?#:%é"))


DTYPES = ("float32", "bfloat16", "float16", "int32", "uint8", "int8", "bool")


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_single_wrong_bit_changes_the_checksum(dtype):
  rng = np.random.default_rng(0)
  whole = rng.integers(0, 2, (5, 7)).astype(jnp.dtype(dtype))
  right = checksums({"a": jnp.asarray(whole)})
  seen = {right["a"]}
  bits = 1 if dtype == "bool" else whole.dtype.itemsize * 8
  raw = np.dtype(f"u{whole.dtype.itemsize}")
  for bit in range(bits):
    wrong = whole.copy()
    wrong.reshape(-1).view(raw)[17] ^= raw.type(1 << bit)
    seen.add(checksums({"a": jnp.asarray(wrong)})["a"])
  assert len(seen) == bits + 1
  moved = checksums({"a": jnp.asarray(np.arange(6.0)[::-1])})
  assert moved != checksums({"a": jnp.arange(6.0)})


def test_a_checksum_is_the_same_on_any_mesh():
  array = np.random.default_rng(1).random((16, 8), np.float32)
  devices = np.array(jax.devices()).reshape(4, 2)
  mesh = jax.sharding.Mesh(devices, ("x", "y"))
  P = jax.sharding.PartitionSpec
  found = {checksums([jax.device_put(
      array, jax.sharding.NamedSharding(mesh, spec))])["0"]
           for spec in (P(), P("x"), P(None, "y"), P("y", "x"), P(("x", "y")))}
  found.add(checksums([jnp.asarray(array)])["0"])
  assert len(found) == 1


class Clock:
  """A clock that a test sets."""

  def __init__(self, monkeypatch):
    self.now = 100.0
    monkeypatch.setattr(save_clock.time, "monotonic", lambda: self.now)


def test_a_save_is_due_by_the_clock(monkeypatch):
  clock = Clock(monkeypatch)
  saves, due = [], save_clock.SaveClock(minutes=10)
  for step in range(1, 201):
    clock.now += 30 if step != 120 else 900  # One step takes long.
    if due.is_due(step):
      saves.append((step, clock.now))
      due.restart(step)
  gaps = np.diff([100.0] + [when for _, when in saves])
  assert (gaps >= 600).all() and (np.sort(gaps)[:-1] <= 690).all()
  never = save_clock.SaveClock(minutes=0)
  assert not any(never.is_due(step) for step in range(50))


def test_the_clock_is_looked_at_seldom(monkeypatch):
  # With several processes a look is a message.
  clock, looks = Clock(monkeypatch), []
  monkeypatch.setattr(
      save_clock, "from_primary", lambda x: looks.append(x) or x)
  due = save_clock.SaveClock(minutes=10)
  for step in range(1, 6001):
    clock.now += 0.1
    if due.is_due(step):
      due.restart(step)
  assert len(looks) < 60


def test_a_save_is_put_off_while_another_is_running(tmp_path, monkeypatch):
  monkeypatch.setattr(checkpoint, "_PATIENCE", 0.02)
  checkpointer = Checkpointer(str(tmp_path), save_every=100)
  running = [True]
  monkeypatch.setattr(checkpointer._manager, "is_saving_in_progress",
                      lambda: running[0])
  assert not checkpointer.is_due(100)
  assert not any(checkpointer.is_due(step) for step in range(101, 106))
  running[0] = False
  assert [s for s in range(106, 200) if checkpointer.is_due(s)] == [110] or (
      [s for s in range(106, 200) if checkpointer.is_due(s)] == [])
  checkpointer.close()


@pytest.mark.thorough
def test_orbax_says_nothing_beside_the_line_about_damage(tmp_path):
  # Its arrays report late, from threads of compiled code, to standard error.
  config = pathlib.Path(__file__).parents[1] / "tiny_config.py"
  command = [
      sys.executable, "-m", "vit_jax.main", f"--config={config}",
      "--config.model.depth=1", "--config.train.steps=8",
      "--config.train.eval_every=0", "--config.checkpoint.save_every=4",
      "--config.train.report=False", f"--workdir={tmp_path}"]

  def run():
    return subprocess.run(
        command, check=True, capture_output=True, text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"}).stderr

  run()
  (tmp_path / "model.npz").unlink()
  lines = run().splitlines()
  assert [line[9:] for line in lines[:1]] == [
      f"restored step 8 from {tmp_path}/checkpoints"]
  (tmp_path / "model.npz").unlink()
  manifest = tmp_path / "checkpoints/8/state/manifest.ocdbt"
  manifest.write_bytes(manifest.read_bytes()[:90])
  lines = run().splitlines()
  assert "checkpoints/8 is damaged (DATA_LOSS" in lines[0]
  assert lines[1].endswith(f"restored step 4 from {tmp_path}/checkpoints")
  assert not [line for line in lines if "Traceback" in line or "Error:" in line
              or "retrieved" in line or "Metadata" in line]

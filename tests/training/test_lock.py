"""A second run on a working directory is refused; a dead one's lock is not."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

from etils import epath
import pytest

from vit_jax.errors import UserError
from vit_jax.training import lock
from vit_jax.training.lock import workdir_lock

ROOT = pathlib.Path(__file__).parents[2]
HOLD = """
import sys, time
from vit_jax.training.lock import workdir_lock
with workdir_lock(sys.argv[1]):
  print("held", flush=True)
  time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
  process = subprocess.Popen(
      [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE,
      text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
  assert process.stdout.readline() == "held\n"
  yield process
  process.kill()
  process.communicate()


def test_the_holder_is_named_and_its_death_ends_the_lock(tmp_path, holder):
  with pytest.raises(UserError, match="is in use by a run with pid") as error:
    with workdir_lock(str(tmp_path)):
      pass
  assert f"pid {holder.pid} on " in str(error.value)
  assert "since 20" in str(error.value) and "\n" not in str(error.value)
  holder.send_signal(signal.SIGKILL)
  holder.wait()
  assert (tmp_path / "lock").exists()
  with workdir_lock(str(tmp_path)):
    said = json.loads((tmp_path / "lock").read_text())
    assert said["pid"] == os.getpid()
  assert not list(tmp_path.iterdir())


def test_one_process_cannot_hold_it_twice(tmp_path):
  with workdir_lock(str(tmp_path)):
    with pytest.raises(UserError, match="in use"):
      with workdir_lock(str(tmp_path)):
        pass
    # The refusal has not ended the lock.
    with pytest.raises(UserError, match="in use"):
      with workdir_lock(str(tmp_path)):
        pass


def test_what_killed_runs_were_writing_is_removed(tmp_path):
  (tmp_path / "eval").mkdir()
  for name in (".model.npz.4711.tmp", ".config.json.1.tmp",
               "eval/.val.json.31940.tmp"):
    (tmp_path / name).write_text("half")
  kept = [".hidden", "notes.tmp", ".my.tmp"]
  for name in kept:
    (tmp_path / name).write_text("mine")
  with workdir_lock(str(tmp_path)):
    pass
  assert sorted(p.name for p in tmp_path.rglob("*")) == sorted([*kept, "eval"])


def test_a_vanished_directory_does_not_hide_the_reason(tmp_path):
  folder = tmp_path / "run"
  folder.mkdir()
  with pytest.raises(ValueError, match="the reason"):
    with workdir_lock(str(folder)):
      os.remove(folder / "lock")
      folder.rmdir()
      raise ValueError("the reason")


def test_a_file_is_no_directory(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="cannot be written"):
    with workdir_lock(str(tmp_path / "file")):
      pass


@pytest.fixture
def quick(monkeypatch):
  """Half a minute is a tenth of a second."""
  monkeypatch.setattr(lock, "_BEAT", 0.1)
  monkeypatch.setattr(lock, "_PATIENCE", 0.8)
  monkeypatch.setattr(lock, "_SETTLE", 0.01)


def another(tmp_path, **changes):
  path = epath.Path(tmp_path / "lock")
  path.write_text(json.dumps(lock._holder() | {"host": "elsewhere"} | changes))
  return path


def test_without_system_locks_the_holder_beats(tmp_path, quick):
  path = epath.Path(tmp_path / "lock")
  with lock._beating(path):
    first = json.loads(path.read_text())["beat"]
    time.sleep(0.5)
    assert json.loads(path.read_text())["beat"] > first
  assert not path.exists()
  assert not [t for t in threading.enumerate() if t.name == "lock"]


def test_a_lock_that_beats_is_refused(tmp_path, quick):
  path = another(tmp_path)
  done = threading.Event()

  def beat():
    for number in range(100):
      if done.wait(0.1):
        return
      another(tmp_path, beat=number, token="theirs", pid=77)

  thread = threading.Thread(target=beat)
  thread.start()
  try:
    with pytest.raises(UserError, match="pid 77 on elsewhere since"):
      with lock._beating(path):
        pass
  finally:
    done.set()
    thread.join()


def test_a_lock_that_beats_no_more_is_taken_over(tmp_path, quick):
  path = another(tmp_path)
  with lock._beating(path):
    assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_dead_process_of_this_machine_is_not_waited_for(
    tmp_path, monkeypatch):
  monkeypatch.setattr(lock, "_SETTLE", 0.01)
  dead = subprocess.Popen([sys.executable, "-c", ""])
  dead.wait()
  path = another(tmp_path, host=lock._holder()["host"], pid=dead.pid)
  before = time.monotonic()
  with lock._beating(path):
    pass
  assert time.monotonic() - before < 5


def test_who_loses_the_lock_stops(tmp_path, quick):
  told = []
  before = signal.signal(signal.SIGTERM, lambda *_: told.append(1))
  try:
    with lock._beating(epath.Path(tmp_path / "lock")):
      another(tmp_path, token="theirs")
      for _ in range(100):
        if told:
          break
        time.sleep(0.02)
    assert told
    assert json.loads((tmp_path / "lock").read_text())["token"] == "theirs"
  finally:
    signal.signal(signal.SIGTERM, before)

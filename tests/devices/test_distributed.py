"""Two processes of four devices equal one process of eight.

None of this depends on how well XLA optimises, nor on a second block: without
them the processes start in half the time.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from vit_jax.config.find import load_config
from vit_jax.devices import distributed
from vit_jax.errors import UsageError
from vit_jax.training.loop import train

HERE = pathlib.Path(__file__).parents[1]
TINY = f"--config={HERE / 'tiny_config.py'}"
OVERRIDES = ("--config.train.steps=5", "--config.optim.warmup_steps=2",
             "--config.model.depth=1", "--config.mesh.fsdp=2",
             "--config.train.eval_every=0")
# A host of a TPU slice holds a square of it, and so rows of the batch that are
# not contiguous: here, too, each process holds every other pair of rows.
INTERLEAVED = """
import vit_jax.devices.sharding as s
arrange = s._arrange
s._arrange = lambda d, shape: arrange(
    sum((d[i::4] for i in range(4)), []), shape)
from vit_jax.main import run
run()
"""


def free_port():
  with socket.socket() as s:
    s.bind(("localhost", 0))
    return s.getsockname()[1]


def start(workdir, count, index, devices, port, *more, code=None):
  words = [sys.executable, *(["-c", code] if code else ["-m", "vit_jax.main"]),
           TINY, f"--workdir={workdir}", *OVERRIDES, *more]
  if count > 1:
    words += [f"--coordinator=localhost:{port}", f"--num_processes={count}",
              f"--process_id={index}"]
  environment = os.environ | {
      "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE.parent),
      "JAX_COMPILATION_CACHE_DIR": "", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
      "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
  return subprocess.Popen(
      words, env=environment, stderr=subprocess.PIPE, text=True)


def record(workdir):
  with open(workdir / "metrics.jsonl") as file:
    return [json.loads(line) for line in file]


def two_processes(workdir, code):
  """Runs a job of two processes of four devices to its end."""
  port = free_port()
  processes = [start(workdir, 2, i, 4, port, code=code) for i in range(2)]
  for process in processes:
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors[-3000:]
  return record(workdir)


def this_process(workdir, *more):
  """Runs the same job here: pytest has eight devices, see conftest.py."""
  train(load_config([TINY, *OVERRIDES, *more]), str(workdir))
  return record(workdir)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
  """The workdir of a job of one process."""
  workdir = tmp_path_factory.mktemp("one")
  this_process(workdir)
  return workdir


def logged(workdir, step):
  """Returns whether the job has logged a step."""
  path = workdir / "metrics.jsonl"
  return path.exists() and f'"step": {step},' in path.read_text()


def newest(workdir):
  """Returns the step of the newest checkpoint that is complete."""
  return max(int(path.name) for path in (workdir / "checkpoints").iterdir()
             if path.name.isdigit())


def wait_for(condition, processes, timeout=300):
  """Waits until something holds, while all processes live."""
  deadline = time.monotonic() + timeout
  while not condition():
    dead = [p for p in processes if p.poll() is not None]
    assert not dead, dead[0].communicate()[1][-3000:]
    assert time.monotonic() < deadline
    time.sleep(0.05)


LONG = ("--config.train.steps=400", "--config.checkpoint.save_every=2")


@pytest.mark.thorough
@pytest.mark.multiprocess
def test_a_dead_process_takes_the_job_down_and_fewer_continue(tmp_path):
  # Three processes, one killed; then two processes on another mesh continue.
  port, batch = free_port(), "--config.data.batch_size=24"
  processes = [
      start(tmp_path, 3, i, 1, port, *LONG, batch, "--config.mesh.fsdp=1",
            "--heartbeat_seconds=10") for i in range(3)]
  wait_for(lambda: logged(tmp_path, 3), processes)
  processes[2].kill()
  died = time.monotonic()
  for process in processes:
    process.communicate(timeout=120)
    assert process.returncode != 0
  assert time.monotonic() - died < 60
  kept = newest(tmp_path)
  port = free_port()
  processes = [
      start(tmp_path, 2, i, 1, port, *LONG, batch) for i in range(2)]
  # Not for a line of the record: the first job may have written further than
  # it saved.
  wait_for(lambda: newest(tmp_path) > kept, processes)
  # A signal to one of them stops both, at the same step.
  processes[1].send_signal(signal.SIGTERM)
  for process in processes:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 42, errors[-3000:]
    assert f"restored step {kept}" in errors
  stopped = newest(tmp_path)
  assert [x["step"] for x in record(tmp_path)] == list(range(1, stopped + 1))
  assert kept < stopped < 400


@pytest.mark.slow
@pytest.mark.multiprocess
@pytest.mark.parametrize("code", [
    pytest.param(None, id="rows"),
    pytest.param(INTERLEAVED, id="squares", marks=pytest.mark.thorough)])
def test_two_processes_of_four_equal_one_of_eight(tmp_path, one, code):
  alone, both = record(one), two_processes(tmp_path, code)
  assert [x["step"] for x in both] == [x["step"] for x in alone]
  for key in ("train/loss", "eval/val/loss"):
    a = np.array([x[key] for x in alone if key in x])
    b = np.array([x[key] for x in both if key in x])
    np.testing.assert_allclose(a, b, atol=1e-5, rtol=0)
  counts = {x["eval/val/examples"] for x in alone + both if
            "eval/val/examples" in x}
  assert len(counts) == 1
  with np.load(one / "model.npz") as a, np.load(tmp_path / "model.npz") as b:
    for key in a:
      if "key/bias" not in key:  # Its gradient is zero: Adam makes noise of it.
        np.testing.assert_allclose(a[key], b[key], atol=1e-3, err_msg=key)


@pytest.mark.slow
def test_another_seed_is_another_run(tmp_path, one):
  """The comparison above can fail."""
  other = this_process(
      tmp_path, "--config.train.seed=9", "--config.train.steps=3")
  # (The first losses are log 10 for every seed: the head starts at zero, and
  # so does the learning rate.)
  assert abs(other[2]["train/loss"] - record(one)[2]["train/loss"]) > 1e-4


def test_half_given_addresses_are_refused():
  with pytest.raises(UsageError, match="go together"):
    distributed.initialize(coordinator="localhost:1")


def test_one_process_alone_needs_nothing(monkeypatch):
  monkeypatch.delenv("SLURM_NTASKS", raising=False)
  assert not distributed.in_cluster()
  distributed.initialize()
  assert distributed.is_primary()


def test_slurm_with_several_tasks_is_a_cluster(monkeypatch):
  monkeypatch.setenv("SLURM_NTASKS", "1")
  assert not distributed.in_cluster()
  monkeypatch.setenv("SLURM_NTASKS", "4")
  assert distributed.in_cluster()


@pytest.mark.multiprocess
def test_processes_with_other_configs_or_versions_are_refused(tmp_path):
  # Both would train, each its own model, and only one would be kept.
  port = free_port()
  processes = [
      start(tmp_path, 2, i, 4, port,
            f"--config.optim.learning_rate=0.00{3 + 4 * i}") for i in range(2)]
  for process in processes:
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 2, errors[-3000:]
    assert ("config.optim.learning_rate is 0.003 on process 0, 0.007 on 1; "
            "start all of them") in errors
  assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.multiprocess
def test_what_one_process_cannot_do_ends_all(tmp_path):
  port = free_port()
  source = ("", f"--config.data.source={tmp_path}/missing")
  processes = [start(tmp_path / "run", 2, i, 4, port, *filter(None, [word]))
               for i, word in enumerate(source)]
  for process, code, words in zip(
      processes, (3, 2), ("another process of this job", "no folder"),
      strict=True):
    _, errors = process.communicate(timeout=400)
    assert process.returncode == code, errors[-3000:]
    assert words in errors

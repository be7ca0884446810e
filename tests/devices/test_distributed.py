"""Two processes of four devices equal one process of eight."""

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

from vit_jax.devices import distributed
from vit_jax.errors import UsageError

HERE = pathlib.Path(__file__).parents[1]
OVERRIDES = ("--config.train.steps=5", "--config.optim.warmup_steps=2",
             "--config.mesh.fsdp=2", "--config.train.eval_every=0")


# Hosts of a TPU slice hold squares of it, and so rows of the batch that are no
# neighbours: here, too, each process holds every other pair of rows.
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
           f"--config={HERE / 'tiny_config.py'}", f"--workdir={workdir}",
           *OVERRIDES, *more]
  if count > 1:
    words += [f"--coordinator=localhost:{port}", f"--num_processes={count}",
              f"--process_id={index}"]
  environment = os.environ | {
      "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE.parent),
      "JAX_COMPILATION_CACHE_DIR": "",
      "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
  return subprocess.Popen(
      words, env=environment, stderr=subprocess.PIPE, text=True)


def job(workdir, count, devices, *more, code=None):
  """Runs a job of `count` processes to its end."""
  port = free_port()
  processes = [
      start(workdir, count, i, devices, port, *more, code=code)
      for i in range(count)]
  for process in processes:
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors[-3000:]
  with open(workdir / "metrics.jsonl") as file:
    return [json.loads(line) for line in file]


def wait_for_line(workdir, step, processes, timeout=300):
  """Waits until the job has logged a step."""
  path = workdir / "metrics.jsonl"
  deadline = time.monotonic() + timeout
  while time.monotonic() < deadline:
    if path.exists() and f'"step": {step},' in path.read_text():
      return
    dead = [p for p in processes if p.poll() is not None]
    assert not dead, dead[0].communicate()[1][-3000:]
    time.sleep(0.05)
  raise TimeoutError(step)


LONG = ("--config.train.steps=400", "--config.checkpoint.save_every=2")


@pytest.mark.multiprocess
def test_a_dead_process_takes_the_job_down_and_fewer_go_on(tmp_path):
  # Four processes, one killed; then two processes on another mesh go on.
  port = free_port()
  processes = [
      start(tmp_path, 4, i, 1, port, *LONG, "--heartbeat_seconds=10")
      for i in range(4)]
  wait_for_line(tmp_path, 3, processes)
  processes[2].kill()
  died = time.monotonic()
  for process in processes:
    process.communicate(timeout=120)
    assert process.returncode != 0
  assert time.monotonic() - died < 60
  kept = max(int(p.name) for p in (tmp_path / "checkpoints").iterdir()
             if p.name.isdigit())
  port = free_port()
  processes = [
      start(tmp_path, 2, i, 1, port, *LONG, "--config.mesh.fsdp=1")
      for i in range(2)]
  wait_for_line(tmp_path, kept + 2, processes)
  # Told to stop by one signal to one of them, both stop at the same step.
  processes[1].send_signal(signal.SIGTERM)
  for process in processes:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 42, errors[-3000:]
    assert f"restored step {kept}" in errors
  stopped = max(int(p.name) for p in (tmp_path / "checkpoints").iterdir()
                if p.name.isdigit())
  with open(tmp_path / "metrics.jsonl") as file:
    steps = [json.loads(line)["step"] for line in file]
  assert steps == list(range(1, stopped + 1))
  assert kept < stopped < 400


@pytest.fixture(scope="module")
def one(tmp_path_factory):
  """The directory and the record of a job of one process."""
  workdir = tmp_path_factory.mktemp("one")
  return workdir, job(workdir, 1, 8)


@pytest.mark.multiprocess
@pytest.mark.parametrize("code", [None, INTERLEAVED], ids=["rows", "squares"])
def test_two_processes_of_four_equal_one_of_eight(tmp_path, one, code):
  workdir, one = one
  two = job(tmp_path, 2, 4, code=code)
  assert [x["step"] for x in two] == [x["step"] for x in one]
  for key in ("train/loss", "eval/val/loss"):
    a = np.array([x[key] for x in one if key in x])
    b = np.array([x[key] for x in two if key in x])
    np.testing.assert_allclose(a, b, atol=1e-5, rtol=0)
  counts = {x["eval/val/examples"] for x in one + two if
            "eval/val/examples" in x}
  assert len(counts) == 1
  with np.load(workdir / "model.npz") as a, np.load(
      tmp_path / "model.npz") as b:
    for key in a:
      if "key/bias" not in key:  # Its gradient is zero: Adam makes noise of it.
        np.testing.assert_allclose(a[key], b[key], atol=1e-3, err_msg=key)


@pytest.mark.multiprocess
def test_another_seed_is_another_run(tmp_path, one):
  # The comparison above can fail.
  three = job(tmp_path, 1, 8, "--config.train.seed=9",
              "--config.train.steps=3")
  # (The first losses are log 10 for every seed: the head starts at zero, and
  # so does the learning rate.)
  assert abs(three[2]["train/loss"] - one[1][2]["train/loss"]) > 1e-4


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

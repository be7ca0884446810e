"""Killed and started again, a run ends as if nothing had happened."""

import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest

HERE = pathlib.Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "vit_jax.main",
           f"--config={HERE / 'tiny_config.py'}")


# With as many devices, and compiled as fast as may be. `.ci/run` kills and
# resumes the quickstart as users run it, fully optimised.
FLAGS = re.sub("(?<=device_count=)[0-9]+", "2", os.environ["XLA_FLAGS"])
CACHE = pathlib.Path(tempfile.mkdtemp(prefix="vit_jax_compiled_"))


def start(workdir, *overrides, env=None):
  environment = os.environ | {
      "JAX_PLATFORMS": "cpu",
      "XLA_FLAGS": FLAGS, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
      "JAX_COMPILATION_CACHE_DIR": str(CACHE),
      "PYTHONPATH": str(HERE.parent)} | (env or {})
  return subprocess.Popen(
      [*COMMAND, f"--workdir={workdir}", *overrides], env=environment,
      stderr=subprocess.PIPE, text=True)


def record(workdir):
  path = pathlib.Path(workdir) / "metrics.jsonl"
  if not path.exists():
    return []
  lines = [x for x in path.read_text().split("\n")[:-1]]
  return [json.loads(x) for x in lines]


def losses(workdir):
  """What must be the same: everything but the clock."""
  keep = ("train/loss", "train/accuracy", "train/grad_norm", "eval/val/loss",
          "eval/val/accuracy")
  return [{k: v for k, v in x.items() if k == "step" or k in keep}
          for x in record(workdir)]


def wait_for_step(process, workdir, step, timeout=240):
  deadline = time.monotonic() + timeout
  while time.monotonic() < deadline:
    if process.poll() is not None:
      return
    lines = record(workdir)
    if lines and lines[-1]["step"] >= step:
      return
    time.sleep(0.005)
  raise TimeoutError(process.stderr.read())


def same_model(a, b):
  with np.load(a / "model.npz") as x, np.load(b / "model.npz") as y:
    assert sorted(x) == sorted(y)
    return all(x[k].tobytes() == y[k].tobytes() for k in x)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
  """A run that nobody disturbed."""
  workdir = tmp_path_factory.mktemp("straight")
  process = start(workdir)
  _, errors = process.communicate(timeout=300)
  assert process.returncode == 0, errors
  assert [x["step"] for x in record(workdir) if "train/loss" in x] == list(
      range(1, 25))
  return workdir


@pytest.mark.thorough
@pytest.mark.multiprocess
def test_killed_twice_ends_the_same(straight, tmp_path):
  # Nothing is flushed, closed or announced: the process is simply gone, once
  # about when it saves first and once after several checkpoints.
  for step in (3, 17):
    process = start(tmp_path)
    wait_for_step(process, tmp_path, step)
    process.send_signal(signal.SIGKILL)
    process.communicate()
  process = start(tmp_path)
  _, errors = process.communicate(timeout=300)
  assert process.returncode == 0, errors
  assert losses(tmp_path) == losses(straight)
  assert same_model(tmp_path, straight)
  assert (tmp_path / "model.npz").read_bytes() == (
      straight / "model.npz").read_bytes()


@pytest.mark.multiprocess
def test_sigterm_saves_exits_42_and_resumes_the_same(straight, tmp_path):
  process = start(tmp_path)
  wait_for_step(process, tmp_path, 2)
  process.send_signal(signal.SIGTERM)
  _, errors = process.communicate(timeout=300)
  assert process.returncode == 42, errors
  assert "the same command resumes here" in errors
  stopped = record(tmp_path)[-1]["step"]
  assert (tmp_path / "checkpoints" / str(stopped)).is_dir()
  assert not (tmp_path / "model.npz").exists()
  process = start(tmp_path)
  _, errors = process.communicate(timeout=300)
  assert process.returncode == 0, errors
  assert f"restored step {stopped}" in errors
  assert losses(tmp_path) == losses(straight)
  assert same_model(tmp_path, straight)


def test_another_run_does_not_end_the_same(straight, tmp_path):
  # What the tests above compare differs where a single bit does.
  assert same_model(straight, straight)
  with np.load(straight / "model.npz") as file:
    arrays = dict(file)
  arrays["head/bias"].view(np.int32)[3] ^= 1
  np.savez(tmp_path / "model.npz", **arrays)
  assert not same_model(tmp_path, straight)
  lines = losses(straight)
  assert all(a != b for a, b in itertools.pairwise(lines))

"""Two processes: one reads the weights, one is slow, and then it hangs."""

import errno
import json
import os
import subprocess
import sys
import time

import disk_shim
import pytest
from test_distributed import HERE, OVERRIDES, TINY, free_port

from vit_jax.config.find import load_config
from vit_jax.training.loop import train

# Process 1 is slow for some batches, then its storage never answers again.
FAULTY = """
import time
import jax
from vit_jax.data import loader
make = loader.train_batches

def batches(*args, **kwargs):
  for i, batch in enumerate(make(*args, **kwargs)):
    if jax.process_index() == 1:
      time.sleep(0.3 if i < 9 else 999)
    yield batch

loader.train_batches = batches
from vit_jax.main import run
run()
"""


def start(cwd, workdir, index, port, code, *more, variables=()):
  cwd.mkdir(exist_ok=True)
  environment = os.environ | {
      "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE.parent),
      "JAX_COMPILATION_CACHE_DIR": "", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
      "XLA_FLAGS": "--xla_force_host_platform_device_count=1"} | dict(variables)
  return subprocess.Popen(
      [sys.executable, "-c", code, TINY, f"--workdir={workdir}", *OVERRIDES,
       "--config.mesh.fsdp=1", *more, f"--coordinator=localhost:{port}",
       "--num_processes=2", f"--process_id={index}"],
      env=environment, cwd=cwd, stderr=subprocess.PIPE, text=True)


@pytest.mark.multiprocess
def test_weights_are_read_once_the_slow_one_is_named_and_a_hang_ends(
    tmp_path):
  first = tmp_path / "first"
  train(load_config([
      TINY, *OVERRIDES, "--config.train.steps=1",
      "--config.optim.warmup_steps=0", "--config.mesh.fsdp=1"]),
      str(first))
  folders = [tmp_path / "one", tmp_path / "two"]
  folders[0].mkdir()
  # Only process 0 finds the weights where the config says they are.
  for name in ("model.npz", "model.json"):
    (first / name).rename(folders[0] / name)
  port, workdir = free_port(), tmp_path / "run"
  processes = [
      start(folder, workdir, i, port, FAULTY, "--config.train.steps=400",
            "--config.init.path=model.npz", "--config.train.hang_minutes=0.2")
      for i, folder in enumerate(folders)]
  errors = [process.communicate(timeout=300)[1] for process in processes]
  # The one that hangs says where. The other one waits for it in a collective,
  # and ends by its own watchdog or because the first is gone.
  assert processes[1].returncode == 1, errors[1][-3000:]
  assert "'data' has taken longer than 12 s" in errors[1]
  assert "in batches" in errors[1]  # its stack
  assert processes[0].returncode not in (0, 2, 3, 42), errors[0][-3000:]
  lines = [json.loads(x) for x in (workdir / "metrics.jsonl").open()]
  slowest = [x["time/data_slowest_process"] for x in lines
             if "time/data_slowest_process" in x]
  assert len(slowest) >= 3
  # On a busy machine process 0 waits as long now and then.
  assert 1 in slowest
  assert "process 1 of 2 waited for data" in errors[0]
  assert (workdir / "heartbeat.json").exists()


@pytest.mark.slow
@pytest.mark.multiprocess
def test_a_save_that_one_process_cannot_do_ends_all_at_once(tmp_path):
  # Orbax's processes would wait for it for 20 minutes.
  port, workdir = free_port(), tmp_path / "run"
  workdir.mkdir()
  disk = disk_shim.Disk(workdir, tmp_path / "counts")
  variables = [{}, disk.variables(at=0, errno=errno.EIO)]
  began = time.monotonic()
  processes = [
      start(tmp_path / str(i), workdir, i, port,
            "from vit_jax.main import run; run()", "--config.train.steps=400",
            "--config.checkpoint.save_every=2", variables=variables[i])
      for i in range(2)]
  errors = [process.communicate(timeout=200)[1] for process in processes]
  # Nor until silence of 100 seconds tells them that one has gone.
  assert time.monotonic() - began < 90
  for process, error in zip(processes, errors, strict=True):
    assert process.returncode == 1, error[-3000:]
    assert "Traceback" not in error
    [line] = [x for x in error.splitlines() if x.startswith("vit_jax: error")]
    assert f"a checkpoint in {workdir}/checkpoints could not be written" in line
  # The reason is with the one that knows it: the first of its files to fail.
  assert "a part of it has failed" in errors[0]
  assert "a part of it has failed" not in errors[1]
  assert "Error writing" in errors[1] or "Input/output error" in errors[1]

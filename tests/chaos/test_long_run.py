"""A long run takes no more memory, threads or open files than a short one."""

import json
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
import short_run
import tally

STEPS = 20_000
# May grow by: part of the memory, and as many threads and open files.
MEMORY, THREADS, FILES = 0.03, 2, 2


def sample(pid):
  """Returns resident MB, threads and open files of a process."""
  status = dict(line.split(":", 1) for line in pathlib.Path(
      f"/proc/{pid}/status").read_text().splitlines())
  return (int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"]),
          len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir())))


def step_of(workdir):
  """Returns the step of the last sign of life, or 0."""
  try:
    return json.loads((workdir / "heartbeat.json").read_text())["step"]
  except FileNotFoundError:
    return 0


@pytest.mark.chaos
def test_long_run(tmp_path, scale):
  steps = max(2_000, round(STEPS * scale))
  workdir = tmp_path / "run"
  process = subprocess.Popen(
      [*short_run.COMMAND, f"--workdir={workdir}",
       f"--config.train.steps={steps}", "--config.train.log_every=20",
       "--config.train.eval_every=500", "--config.checkpoint.save_every=250"],
      env=short_run.environment(), stderr=subprocess.DEVNULL)
  samples = []
  while process.poll() is None:
    step = step_of(workdir)
    if step:
      try:
        samples.append((step, *sample(process.pid)))
      except (FileNotFoundError, ProcessLookupError, KeyError):
        break  # It has just ended.
    time.sleep(0.5)
  assert process.wait() == 0
  table = np.array(samples)
  # The first fifth warms caches of programs, of the allocator and of Orbax.
  early = np.median(table[(table[:, 0] > steps / 5)
                          & (table[:, 0] <= steps / 2), 1:], axis=0)
  late = np.median(table[table[:, 0] > 0.8 * steps, 1:], axis=0)
  said = (f"{steps} steps: memory {early[0]:.0f} -> {late[0]:.0f} MB, threads "
          f"{early[1]:.0f} -> {late[1]:.0f}, files {early[2]:.0f} -> "
          f"{late[2]:.0f}")
  print(said, file=sys.stderr)
  grows = late - early
  same = (grows[0] <= MEMORY * early[0] and grows[1] <= THREADS
          and grows[2] <= FILES)
  tally.add("a long run", {"the same" if same else "other": 1}, [said])

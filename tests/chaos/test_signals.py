"""Killed, told, interrupted at any moment: the same command ends the same."""

import collections
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest
import tally

HERE = pathlib.Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "vit_jax.main",
           f"--config={HERE / 'tiny_config.py'}", "--config.model.depth=1",
           "--config.train.steps=40", "--config.train.report=True")
CACHE = pathlib.Path(tempfile.mkdtemp(prefix="vit_jax_compiled_"))
# What a signal may leave behind: the run's end, the codes of errors.py, or the
# signal itself where it came before Python could handle it.
CODES = {signal.SIGKILL: {0, -9}, signal.SIGTERM: {0, 42, -15},
         signal.SIGINT: {0, 130, -2}, signal.SIGHUP: {0, 42, -1}}


def start(workdir):
  environment = os.environ | {
      "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE.parent),
      "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
      "JAX_COMPILATION_CACHE_DIR": str(CACHE)}
  return subprocess.Popen(
      [*COMMAND, f"--workdir={workdir}"], env=environment,
      stderr=subprocess.PIPE, text=True)


def numbers(workdir):
  path = workdir / "metrics.jsonl"
  lines = path.read_text().split("\n")[:-1] if path.exists() else []
  keep = ("step", "train/loss", "train/grad_norm", "eval/val/loss",
          "eval/val/accuracy")
  return [{k: v for k, v in json.loads(x).items() if k in keep} for x in lines]


def finish(workdir):
  """Runs to the end; returns the exit code and standard error."""
  process = start(workdir)
  _, errors = process.communicate(timeout=900)
  return process.returncode, errors


@pytest.fixture(scope="session")
def straight(tmp_path_factory):
  """A run that nobody disturbed, and how long it takes."""
  workdir = tmp_path_factory.mktemp("straight")
  code, errors = finish(workdir)  # It also fills the cache of programs.
  assert code == 0, errors
  again = tmp_path_factory.mktemp("again")
  begin = time.monotonic()
  assert finish(again)[0] == 0
  return workdir, time.monotonic() - begin


def in_save(workdir):
  return any((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*"))


def in_export(workdir):
  return any(workdir.glob(".*.tmp"))


def wait(process, workdir, moment, seconds):
  """Waits for a moment of the run, or for so many seconds of it."""
  begin = time.monotonic()
  while process.poll() is None:
    if moment is None:
      if time.monotonic() - begin > seconds:
        return
    elif moment(workdir):
      return
    time.sleep(0.002)


def disturb(workdir, rng, numbers_of_signals, length):
  """Sends signals at some moment; returns the codes and standard error."""
  moment = (None, None, in_save, in_export)[int(rng.integers(4))]
  process = start(workdir)
  early = rng.random() < 0.2
  wait(process, workdir, None if early else moment,
       rng.random() * (3.0 if early else length))
  for number in numbers_of_signals:
    if process.poll() is None:
      process.send_signal(number)
      time.sleep(rng.random() * 0.3)
  try:
    _, errors = process.communicate(timeout=300)
  except subprocess.TimeoutExpired:
    process.kill()
    process.communicate()
    return None, ""
  return process.returncode, errors


def leftovers(workdir):
  """Returns files that should not outlive the next start."""
  return [str(p.relative_to(workdir)) for p in workdir.rglob("*")
          if p.name == "lock" or p.name.endswith(".tmp")
          or "orbax-checkpoint-tmp" in p.name]


def outcome(workdir, straight, code, errors, allowed):
  """Returns the kind of outcome, and a detail."""
  if code is None:
    return "hang", ""
  if code not in allowed:
    return "other", f"exit {code}: {errors[-800:]}"
  if "Traceback" in errors:
    return "other", errors[-1500:]
  code, errors = finish(workdir)
  if code or "Traceback" in errors:
    return "other", f"after the resume, exit {code}: {errors[-1500:]}"
  if numbers(workdir) != numbers(straight):
    return "silently other", "the record"
  for name in ("model.npz", "model.json"):
    if (workdir / name).read_bytes() != (straight / name).read_bytes():
      return "silently other", name
  if not (workdir / "report.html").exists() or leftovers(workdir):
    return "other", f"files: {leftovers(workdir)}"
  return "the same", ""


SIGNALS = {
    "kill -9": (200, (signal.SIGKILL,)), "SIGTERM": (50, (signal.SIGTERM,)),
    "SIGINT": (40, (signal.SIGINT,)),
    "SIGINT twice": (10, (signal.SIGINT, signal.SIGINT)),
    "SIGHUP": (10, (signal.SIGHUP,))}


@pytest.mark.chaos
@pytest.mark.parametrize("name", SIGNALS)
def test_signals(straight, tmp_path, name, seed, scale):
  count, sent = SIGNALS[name]
  counts, examples = collections.Counter(), []
  for number in range(max(1, round(count * scale))):
    rng = np.random.default_rng((seed, number, len(name)))
    workdir = tmp_path / str(number)
    workdir.mkdir()
    code, errors = disturb(workdir, rng, sent, straight[1])
    kind, detail = outcome(workdir, straight[0], code, errors, CODES[sent[0]])
    counts[kind] += 1
    if kind not in tally.GOOD:
      examples.append(f"{name} {number}: {kind} {detail}")
  tally.add(name, counts, examples)

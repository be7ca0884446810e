"""Killed, told, interrupted at any moment: the same command ends the same."""

import collections
import signal
import subprocess
import time

import numpy as np
import pytest
import short_run
import tally

# What a signal may leave behind: the run's end, the codes of errors.py, or the
# signal itself where it came before Python could handle it.
CODES = {signal.SIGKILL: {0, -9}, signal.SIGTERM: {0, 42, -15},
         signal.SIGINT: {0, 130, -2}, signal.SIGHUP: {0, 42, -1}}


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
  process = short_run.start(workdir)
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
    process.send_signal(signal.SIGABRT)  # It prints the stacks of its threads.
    return None, process.communicate()[1]
  return process.returncode, errors


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
    kind, detail = short_run.outcome(
        workdir, straight[0], code, errors, CODES[sent[0]])
    counts[kind] += 1
    if kind not in tally.GOOD:
      examples.append(f"{name} {number}: {kind} {detail}")
  tally.add(name, counts, examples)

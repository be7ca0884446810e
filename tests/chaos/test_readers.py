"""Readers of foreign files take any damage: read as it is, or one line."""

import json
import pathlib
import subprocess
import sys

import pytest
from readers import READERS
import tally

WORKER = pathlib.Path(__file__).with_name("worker.py")
ALL = 100_000  # damaged inputs, over all readers
# Those that import little, in the default run.
SLICE = ("npz", "npz, compressed", "safetensors", "PNG", "JPEG", "index.csv",
         "model.json", "metrics.jsonl")


def fuzz(name, seed, count):
  """Lets a process damage `count` inputs of one reader."""
  done = subprocess.run(
      [sys.executable, str(WORKER), name, str(seed), str(count)],
      capture_output=True, text=True, check=False)
  if done.returncode:
    tally.add(name, {"crash": 1}, [
        f"{name}, seed {seed}: exit {done.returncode} {done.stderr[-1500:]}"])
  result = json.loads(done.stdout.splitlines()[-1])
  tally.add(name, result["counts"], result["details"])


@pytest.mark.parametrize("name", SLICE)
def test_some_damage(name, seed):
  fuzz(name, seed, 250)


@pytest.mark.chaos
@pytest.mark.parametrize("name", READERS)
def test_much_damage(name, seed, scale):
  # In several processes, so that a crash costs only a part.
  each = max(1, round(ALL * scale / len(READERS) / 5))
  for part in range(5):
    fuzz(name, 1000 * seed + part + 1, each)

"""Killed in a download or a preparation: the same command ends the same."""

import collections
import gzip
import hashlib
import os
import signal
import subprocess
import sys
import time

from array_record.python import array_record_module
import file_server
import numpy as np
import pytest
import short_run
import tally

KILLS = 25  # of each command
URL = "/weights/model.npz"


def contents(folder):
  """Returns a digest of the content of every file below a folder, by its path.

  That of an array_record file is its records': its bytes depend on how many of
  the writer's threads were ahead.
  """
  found = {}
  for path in sorted(folder.rglob("*")):
    if path.is_file():
      digest = hashlib.sha256()
      if "array_record" in path.name and not path.name.endswith(".tmp"):
        reader = array_record_module.ArrayRecordReader(str(path))
        for record in reader.read_all():
          digest.update(record)
      else:
        digest.update(path.read_bytes())
      found[str(path.relative_to(folder))] = digest.hexdigest()
  return found


def names(folder):
  """Returns the files below a folder."""
  return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def run(arguments, after=None, **variables):
  """Runs a verb, killed after some seconds; its exit code and errors."""
  environment = os.environ | {
      "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(short_run.HERE.parent)}
  process = subprocess.Popen(
      [sys.executable, "-m", "vit_jax", *map(str, arguments)],
      env=environment | variables, stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE, text=True)
  try:
    process.wait(after)
  except subprocess.TimeoutExpired:
    process.send_signal(signal.SIGKILL)
  _, errors = process.communicate(timeout=300)
  return process.returncode, errors


def kill_often(name, folder, command, seed, scale):
  """Kills a command at any moment and repeats it; compares the files.

  Args:
    name: of the row in the table.
    folder: for the files of every try.
    command: a function of the folder of a try, returning what `run` takes.
    seed, scale: of the program.
  """
  begin = time.monotonic()
  whole = folder / "whole"
  whole.mkdir()
  code, errors = run(**command(whole))
  length = time.monotonic() - begin
  assert code == 0, errors
  want = contents(whole)
  assert want
  counts, examples = collections.Counter(), []
  for number in range(max(1, round(KILLS * scale))):
    rng = np.random.default_rng((seed, number, len(name)))
    place = folder / str(number)
    place.mkdir()
    # Most of a command's first seconds are imports.
    run(**command(place), after=length * (0.3 + 0.7 * rng.random()))
    before = names(place)
    code, errors = run(**command(place))
    got = contents(place)
    kind = "the same"
    if code or "Traceback" in errors:
      kind = "other"
    elif got != want:
      kind = "silently other"
    counts[kind] += 1
    if kind not in tally.GOOD:
      examples.append(
          f"{name} {number}: exit {code}, files when it was killed: {before}, "
          f"at the end: {sorted(got)} {errors[-1500:]}")
  tally.add(name, counts, examples)


@pytest.mark.chaos
def test_download(straight, tmp_path, seed, scale):
  # The run's own model with incompressible bytes that make it 24 MB.
  arrays = dict(np.load(straight[0] / "model.npz"))
  rng = np.random.default_rng(seed)
  arrays["Transformer/posembed_input/pos_embedding"] = rng.random(
      (1, 1 + 300 ** 2, 32), np.float32)[:, :180_000]
  path = tmp_path / "model.npz"
  np.savez(path, **arrays)
  with file_server.serving() as server:
    server.files[URL] = path.read_bytes()
    server.default = {"pace": 0.01}
    kill_often(
        "kill -9 in a download", tmp_path,
        lambda place: dict(arguments=["inspect", server.url + URL],
                           VIT_JAX_CACHE=str(place)), seed, scale)


def write_idx(path, array):
  """Writes bytes as MNIST's files are."""
  header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
  with gzip.open(path, "wb", compresslevel=1) as file:
    file.write(header + array.tobytes())


@pytest.mark.chaos
def test_prepare(tmp_path, seed, scale):
  rng = np.random.default_rng(seed)
  archives = tmp_path / "archives"
  archives.mkdir()
  for split, count in (("train", 20_000), ("t10k", 2_000)):
    labels = rng.integers(0, 10, count, np.uint8)
    images = rng.integers(0, 256, (count, 28, 28), np.uint8)
    write_idx(archives / f"{split}-images-idx3-ubyte.gz", images)
    write_idx(archives / f"{split}-labels-idx1-ubyte.gz", labels)
  kill_often(
      "kill -9 in a preparation", tmp_path,
      lambda place: dict(arguments=[
          "prepare", "mnist", f"--data_dir={place}",
          f"--manual_dir={archives}", "--partial"]), seed, scale)

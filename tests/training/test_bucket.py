"""A run whose working directory is a bucket, as TPU jobs have it.

Google Cloud Storage is simulated on loopback (gcs_server.py); its clients are
the real ones.
"""

import importlib.util
import io
import os
import pathlib
import subprocess
import sys

import gcs_server
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gcsfs") is None, reason="gcsfs is not installed")

HERE = pathlib.Path(__file__).parents[1]
WORKDIR = "gs://bucket/runs/a"
NEWEST = "runs/a/checkpoints/8/"


@pytest.fixture
def bucket():
  with gcs_server.bucket(1) as (store, [door]):
    yield store, door


def train(door, workdir=WORKDIR, *more):
  return subprocess.run(
      [sys.executable, "-m", "vit_jax.main",
       f"--config={HERE / 'tiny_config.py'}", "--config.model.depth=1",
       "--config.train.steps=8", "--config.train.eval_every=0",
       "--config.checkpoint.save_every=4", "--config.train.report=False",
       f"--workdir={workdir}", *more],
      env=os.environ | door.environment() | {"JAX_PLATFORMS": "cpu"},
      cwd=HERE.parent, capture_output=True, text=True)


def lines(run):
  """Returns what a run printed, without what real buckets do not provoke."""
  return [line for line in run.stderr.splitlines()
          if "Authentication failed using Compute Engine" not in line
          and "GOOGLE_AUTH_TOKEN_FOR_TESTING" not in line]


def arrays(content):
  with np.load(io.BytesIO(content)) as file:
    return dict(file)


@pytest.mark.thorough
def test_a_run_in_a_bucket_is_a_run_on_a_disk(bucket, tmp_path):
  store, door = bucket
  done = train(door)
  assert done.returncode == 0, done.stderr
  first = arrays(store.objects["runs/a/model.npz"][0])
  assert not train(door, tmp_path / "disk").returncode
  on_disk = arrays((tmp_path / "disk" / "model.npz").read_bytes())
  np.testing.assert_equal(first, on_disk)
  # The newest checkpoint is damaged, and the result is gone.
  del store.objects["runs/a/model.npz"]
  whole = store.objects[NEWEST + "state/manifest.ocdbt"][0]
  store.put(NEWEST + "state/manifest.ocdbt", whole[:90])
  again = train(door)
  assert again.returncode == 0, again.stderr
  said = lines(again)
  assert f"{WORKDIR}/checkpoints/8 is damaged (DATA_LOSS" in said[0]
  assert f"moved to {WORKDIR}/damaged/8" in said[0]
  assert said[1].endswith(f"restored step 4 from {WORKDIR}/checkpoints")
  np.testing.assert_equal(
      arrays(store.objects["runs/a/model.npz"][0]), on_disk)
  assert store.objects["runs/a/damaged/8/state/manifest.ocdbt"][0] == whole[:90]
  assert "runs/a/lock" not in store.objects
  # A run stands for its result, in a bucket too.
  other = train(door, "gs://bucket/runs/b", f"--config.init.path={WORKDIR}")
  assert other.returncode == 0, other.stderr
  assert "runs/b/model.npz" in store.objects
  assert door.asked.requests["unknown"] == 0, door.asked.log


@pytest.mark.chaos
def test_a_checkpoint_that_is_not_answered_for_stays(bucket):
  store, door = bucket
  assert not train(door).returncode
  before = {k: v[:2] for k, v in store.objects.items() if "checkpoints" in k}
  del store.objects["runs/a/model.npz"]
  for part in ("checkpoints/8/state/d/", "checkpoints/8/note/metadata"):
    door.refuses = lambda method, path, part=part: (
        403 if method == "GET" and part in path else 0)
    refused = train(door)
    assert refused.returncode == 1, refused.stderr
    assert lines(refused)[-1].startswith(
        f"vit_jax: error: checkpoint {WORKDIR}/checkpoints/8 cannot be read "
        "now (")
    assert {k: v[:2] for k, v in store.objects.items()
            if "checkpoints" in k} == before
  door.refuses = lambda *_: 0
  assert "restored step 8" in train(door).stderr


@pytest.mark.chaos
@pytest.mark.parametrize("methods, code, message", [
    (("GET", "POST", "PUT"), 3,
     f"{WORKDIR}/lock: cannot be written (Forbidden"),
    (("POST", "PUT"), 3, f"{WORKDIR}/lock: cannot be written (Forbidden"),
    (("DELETE",), 0, None)])
def test_a_bucket_that_refuses_is_one_line(bucket, methods, code, message):
  _, door = bucket
  door.refuses = lambda method, path: 403 if method in methods else 0
  run = train(door)
  assert run.returncode == code, run.stderr
  if message:
    [line] = lines(run)
    assert line.startswith(f"vit_jax: error: {message}")
  else:
    assert "lock cannot be removed: Forbidden" in lines(run)[-1]


@pytest.mark.chaos
def test_a_save_that_is_refused_ends_the_run(bucket):
  _, door = bucket
  door.refuses = lambda method, path: (
      403 if method in ("POST", "PUT") and "checkpoints" in path else 0)
  run = train(door)
  assert run.returncode == 1
  assert "Traceback" not in run.stderr
  assert lines(run)[-1].startswith(
      f"vit_jax: error: a checkpoint in {WORKDIR}/checkpoints could not be "
      "written: Forbidden")

"""From a name to predictions: a full-size Ti/16, over a real HTTP server.

download -> adapt -> fine-tune at 384 -> evaluate -> export -> predict, each by
its command, as a user would.
"""

import json
import os
import pathlib
import subprocess
import sys

from file_server import serving
import jax
import numpy as np
from PIL import Image
import pytest

from vit_jax import __main__
from vit_jax.models.variants import make_model
from vit_jax.weights import adapt
from vit_jax.weights.convert import write_weights
from vit_jax.weights.load import load
from vit_jax.weights.names import google

ROOT = pathlib.Path(__file__).parents[2]
NAME = "augreg/Ti_16"
FILE = ("/augreg/Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0.npz")
CLASSES = ("blue", "red")


@pytest.fixture
def server(tmp_path, monkeypatch):
  """Serves random weights of the released file's names, shapes and size."""
  model = make_model("Ti/16", num_classes=21_843, dtype="float32")
  rng = np.random.default_rng(0)
  flat = {
      name: rng.normal(float(name.endswith("scale")), 0.02, shape)
      .astype(np.float32)
      for name, shape in adapt.expected_shapes(model, (224, 224)).items()}
  path = tmp_path / "upstream.npz"
  write_weights(path, flat, {})
  with serving() as server:
    server.files[FILE] = path.read_bytes()
    monkeypatch.setenv("VIT_JAX_CHECKPOINTS", server.url)
    monkeypatch.setenv("VIT_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    server.flat = flat
    yield server


@pytest.fixture
def pictures(tmp_path):
  """A folder data set of two classes, four pictures each and split."""
  rng = np.random.default_rng(1)
  for split in ("train", "test"):
    for label, name in enumerate(CLASSES):
      for i in range(2):
        pixels = rng.integers(0, 100, (60 + 8 * i, 80, 3), np.uint8)
        pixels[..., 2 - 2 * label] += 150
        path = tmp_path / "colours" / split / name / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
  return tmp_path / "colours"


def vit(capsys, *words):
  capsys.readouterr()
  assert not __main__.main([str(word) for word in (*words, "--json")])
  return json.loads(capsys.readouterr().out)


@pytest.mark.thorough
def test_from_a_name_to_predictions(server, pictures, tmp_path, capsys):
  server.plan = [dict(status=404), dict(cut=10_000_000)]  # no index; a break
  run = tmp_path / "run"
  environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
  done = subprocess.run(
      [sys.executable, "-m", "vit_jax.main",
       "--config=configs/augreg.py:Ti_16,oxford_iiit_pet,full",
       f"--workdir={run}", f"--config.data.source={pictures}",
       "--config.data.split=train", "--config.model.num_classes=2",
       "--config.data.batch_size=2", "--config.evals.test.batch_size=2",
       "--config.train.steps=2", "--config.train.log_every=1",
       "--config.train.report=False", "--config.optim.warmup_steps=0"],
      cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-3000:]

  # The download went on where it was cut off, and was adapted, loudly.
  assert [s for path, _, s in server.requests if path == FILE] == [200, 206]
  said = done.stderr
  assert "resized from a grid of 14x14 to 24x24" in said
  assert "the head was reset to zeros, for 2 classes" in said
  record = [json.loads(line) for line in (run / "metrics.jsonl").open()]
  assert record[-1]["step"] == 2
  losses = [x["train/loss"] for x in record if "train/loss" in x]
  # A head of zeros says 1/2 and 1/2, and then something else.
  assert losses[0] == pytest.approx(np.log(2), abs=1e-6)
  assert losses[1] != pytest.approx(losses[0], abs=1e-6)
  trained = next(x["eval/test/accuracy"] for x in record[::-1]
                 if "eval/test/accuracy" in x)

  scores = vit(capsys, "evaluate", f"--checkpoint={run}", "--batch_size=8")
  assert scores["accuracy"] == trained and scores["examples"] == 4

  vit(capsys, "export", run, tmp_path / "colours.stablehlo")
  paths = sorted(pictures.glob("test/*/*.png"))
  predicted = vit(capsys, "predict", f"--checkpoint={run}", "--top_k=2",
                  "--batch_size=4",
                  *paths)["predictions"]
  _check_predictions(run, tmp_path / "colours.stablehlo", paths, predicted)

  # The second time, nothing is asked of the network.
  count = len(server.requests)
  upstream = load(NAME)
  assert len(server.requests) == count
  kernel = google.normalise(server.flat)[0]["head/kernel"]
  np.testing.assert_array_equal(upstream.params["head"]["kernel"], kernel)


def _check_predictions(run, exported, paths, predicted):
  """The exported file says what predict says, of pictures prepared alike."""
  loaded = load(run / "model.npz")
  assert loaded.class_names == CLASSES
  assert loaded.config["image_size"] == (384, 384)
  images = loaded.preprocess(paths)
  assert images.shape == (4, 384, 384, 3)
  model = jax.export.deserialize(bytearray(exported.read_bytes()))
  whole = np.clip(np.rint(images * 127.5 + 127.5), 0, 255).astype(np.uint8)
  chances = jax.nn.softmax(np.asarray(model.call(whole)))
  for row, said in zip(np.asarray(chances), predicted, strict=True):
    for entry in said["classes"]:
      # predict sees the resized pixels before they are rounded.
      assert row[CLASSES.index(entry["name"])] == pytest.approx(
          entry["probability"], abs=2e-3)

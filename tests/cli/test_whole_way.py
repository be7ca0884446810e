"""Train, evaluate, predict, inspect, convert and report, by commands alone."""

import json
import subprocess
import sys
import time

import numpy as np
from PIL import Image
import pytest

from vit_jax.models.variants import make_model
from vit_jax.weights import adapt
from vit_jax.weights.convert import write_weights

TINY = [f"--config.{key}" for key in (
    "model.width=16", "model.depth=1", "model.mlp_dim=32", "model.num_heads=2",
    "data.image_size=8", "data.batch_size=16",
    "data.preprocess=resize({size})", "optim.warmup_steps=0",
    "train.log_every=1", "train.steps=6", "train.eval_every=3",
    "evals.val.batch_size=64", "evals.test.batch_size=64")]


@pytest.mark.slow
def test_the_whole_way(vit, tmp_path):
  run = tmp_path / "run"
  # A process of its own: training installs signal handlers and absl's flags.
  done = subprocess.run(
      [sys.executable, "-m", "vit_jax", "train",
       "--config=configs/quickstart.py", f"--workdir={run}", *TINY],
      capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  record = [json.loads(x) for x in (run / "metrics.jsonl").open()]
  trained = next(x["eval/test/accuracy"] for x in record[::-1]
                 if "eval/test/accuracy" in x)

  scores = vit("evaluate", f"--checkpoint={run}", "--batch_size=64",
               "--json").json()
  assert scores["accuracy"] == trained
  assert scores["examples"] == 360

  digit = tmp_path / "digit.png"
  Image.fromarray(np.zeros((8, 8), np.uint8)).save(digit)
  by_run, by_step = (
      vit("predict", f"--checkpoint={path}", digit, "--json").json()
      for path in (run, run / "checkpoints/6"))
  assert by_run["predictions"] == by_step["predictions"]

  facts = vit("inspect", run, "--json").json()
  assert facts["step"] == 6
  assert facts["scores"]["eval/test/accuracy"] == trained
  assert vit("convert", run, tmp_path / "a.safetensors").code == 0
  other = vit("inspect", f"--checkpoint={tmp_path / 'a.safetensors'}",
              "--json").json()
  assert other["parameter_count"] == facts["parameter_count"]
  assert other["class_names"] == list("0123456789")

  page = (run / "report.html").read_text()
  assert "24 images" in page
  assert f"{trained:.2%}" in page
  assert vit("report", f"--workdir={run}", "--samples=7").code == 0
  assert "7 images" in (run / "report.html").read_text()


@pytest.mark.slow
def test_predict_on_a_full_size_model_in_20_seconds(tmp_path):
  model = make_model("B/16", num_classes=1000)
  rng = np.random.default_rng(0)
  write_weights(tmp_path / "ViT-B_16.npz", {
      name: rng.standard_normal(shape, np.float32) * 0.02 for name, shape
      in adapt.expected_shapes(model, (224, 224)).items()}, {})
  for name in "abc":
    pixels = rng.integers(0, 256, (480, 640, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"{name}.jpg")
  start = time.perf_counter()
  done = subprocess.run(
      [sys.executable, "-m", "vit_jax", "predict",
       f"--checkpoint={tmp_path / 'ViT-B_16.npz'}", "--json", str(tmp_path)],
      capture_output=True, text=True, check=True,
      env={"PATH": "", "JAX_PLATFORMS": "cpu", "HOME": str(tmp_path)})
  assert time.perf_counter() - start < 20
  assert len(json.loads(done.stdout)["predictions"]) == 3

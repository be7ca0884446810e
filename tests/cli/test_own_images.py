"""README's commands for one's own images, word by word, on made photographs."""

import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest

import vit_jax
from vit_jax.weights.convert import write_weights

ROOT = pathlib.Path(__file__).parents[2]


def commands():
  """Returns the words of each command of the block."""
  text = (ROOT / "README.md").read_text(encoding="utf-8")
  block = re.search(r"<!-- ci:own -->\n```bash\n(.*?)```", text, re.DOTALL)[1]
  return [shlex.split(line)[3:] for line in block.splitlines()]


def photograph(rng, hue):
  """Returns a noisy picture with a blot of one colour."""
  y, x = np.mgrid[:20, :24] - rng.integers(6, 14, (2, 1, 1))
  pixels = rng.normal(120, 25, (20, 24, 3))
  pixels[x**2 + y**2 < 40] = 40
  pixels[x**2 + y**2 < 40, hue] = 220
  return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture
def place(tmp_path, tiny_model, monkeypatch):
  """A working directory with birds/, new_birds/ and a mirror of the files."""
  rng = np.random.default_rng(0)
  for hue, name in enumerate(("robin", "finch", "tit")):
    (tmp_path / "birds" / name).mkdir(parents=True)
    for i in range(20):
      photograph(rng, hue).save(tmp_path / f"birds/{name}/{i}.jpg")
  (tmp_path / "new_birds").mkdir()
  photograph(rng, 0).save(tmp_path / "new_birds/one.jpg")
  model, params = tiny_model
  (tmp_path / "mirror/imagenet21k").mkdir(parents=True)
  write_weights(tmp_path / "mirror/imagenet21k/ViT-B_16.npz", params, {
      "architecture": model.architecture(), "image_size": [8, 8]})
  monkeypatch.setenv("VIT_JAX_CHECKPOINTS", str(tmp_path / "mirror"))
  monkeypatch.chdir(tmp_path)
  return tmp_path


@pytest.mark.slow
def test_readmes_commands_end_in_report_predictions_and_weights(place, vit):
  train, *rest = commands()
  assert [words[0] for words in (train, *rest)] == [
      "train", "predict", "features", "convert"]
  done = subprocess.run(
      [sys.executable, "-m", "vit_jax", *train], capture_output=True,
      text=True, check=False)
  assert done.returncode == 0, done.stderr
  # Not B/4, whose patches and image size it has.
  assert "custom/4 at 8x8 is what is trained" in done.stderr
  assert "48 examples" in done.stderr
  run = place / "runs/birds"
  assert (run / "report.html").exists()
  loaded = vit_jax.load(run / "model.npz")
  assert loaded.class_names == ("finch", "robin", "tit")
  assert loaded.model.width == 16  # Read off the file, whatever its name.
  for words in rest:
    ran = vit(*words)
    assert ran.code == 0, ran.err
    if words[0] == "predict":
      assert "new_birds/one.jpg" in ran.out and "robin" in ran.out
  with np.load("new_birds.npz") as file:
    assert file["names"].tolist() == ["new_birds/one.jpg"]
    assert file["features"].shape == (1, 16)
  assert vit("inspect", "birds.safetensors", "--json").json()[
      "class_names"] == ["finch", "robin", "tit"]
  # A finished run is a model to start from, with other classes too.
  (place / "birds/tit").rename(place / "two")
  again = subprocess.run(
      [sys.executable, "-m", "vit_jax", "train",
       "--config=configs/folder.py:runs/birds,birds,epochs=1",
       "--workdir=runs/again"], capture_output=True, text=True, check=False)
  assert again.returncode == 0, again.stderr
  assert vit_jax.load(place / "runs/again/model.npz").class_names == (
      "finch", "robin")

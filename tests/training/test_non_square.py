"""Pictures that are higher than wide, from the config to predictions."""

import importlib.util
import json
import pathlib

import numpy as np
from PIL import Image
import pytest

from vit_jax import __main__
from vit_jax.config.schema import eval_config
from vit_jax.training import loop, setup
from vit_jax.weights.load import load

SPEC = importlib.util.spec_from_file_location(
    "tiny_config", pathlib.Path(__file__).parents[1] / "tiny_config.py")
TINY = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(TINY)


def tiny(size):
  config = TINY.get_config()
  config.model.depth = 1
  config.train.update(steps=2, eval_every=0, report=True)
  config.optim.update(warmup_steps=1)
  config.data.update(
      image_size=size, preprocess="inception_crop({size})|flip_lr")
  config.evals.val = eval_config(
      split="val[:40]", preprocess="resize_small(20)|central_crop({size})")
  return config


def said(capsys, *words):
  capsys.readouterr()
  assert not __main__.main([str(word) for word in (*words, "--json")])
  return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("high")
  return workdir, loop.train(tiny("16x8"), str(workdir))


@pytest.mark.slow
def test_the_result_is_described_loaded_and_scored_at_its_size(
    trained, capsys, tmp_path):
  workdir, result = trained
  assert json.loads(
      (workdir / "model.json").read_text())["image_size"] == [16, 8]
  vit = load(workdir / "model.npz")
  assert vit.config["image_size"] == (16, 8)
  table = vit.params["Transformer"]["posembed_input"]["pos_embedding"]
  assert table.shape == (1, 1 + 4 * 2, 32)
  scores = said(capsys, "evaluate", f"--checkpoint={workdir}",
                "--split=val[:40]", "--batch_size=8")
  assert scores["image_size"] == [16, 8]
  assert scores["accuracy"] == pytest.approx(
      result.scores["eval/val/accuracy"])
  assert scores["loss"] == pytest.approx(
      result.scores["eval/val/loss"], abs=1e-4)
  pixels = np.random.default_rng(0).integers(0, 256, (31, 24, 3), np.uint8)
  Image.fromarray(pixels).save(tmp_path / "one.png")
  predictions = said(capsys, "predict", f"--checkpoint={workdir}",
                     "--batch_size=8", tmp_path / "one.png")["predictions"]
  assert len(predictions) == 1
  assert "16×8" in (workdir / "report.html").read_text()


@pytest.mark.slow
def test_it_resumes_and_fine_tunes_at_another_shape(trained, tmp_path):
  workdir, result = trained
  assert loop.train(tiny((16, 8)), str(workdir)) == result  # The same run.
  config = tiny("8x24")
  config.init.path = str(workdir / "model.npz")
  run = setup.setup(config, str(tmp_path))
  run.checkpointer.close()
  before = load(workdir / "model.npz").params["Transformer"]["posembed_input"]
  table = np.asarray(run.state.params["Transformer"]["posembed_input"][
      "pos_embedding"])
  assert table.shape == (1, 1 + 2 * 6, 32)
  # Corners are aligned: 4 x 2 becomes 2 x 6, and the corners stay.
  old = np.asarray(before["pos_embedding"])[0, 1:].reshape(4, 2, 32)
  new = table[0, 1:].reshape(2, 6, 32)
  for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
    np.testing.assert_allclose(
        new[row, column], old[row, column], atol=1e-6)

"""What a config leaves open follows the data and the start weights."""

import json
import logging
import pathlib

import numpy as np
from PIL import Image
import pytest
from shipped_configs import get
from tiny_config import get_config

import vit_jax
from vit_jax.config import schema
from vit_jax.errors import UserError
from vit_jax.metrics import read_record
from vit_jax.models.variants import make_model
from vit_jax.training import loop, setup, workdir
from vit_jax.weights.adapt import expected_shapes
from vit_jax.weights.trees import stack_blocks, unflatten

SMALL = dict(variant="Ti/16", patch_size=4, width=16, depth=1, mlp_dim=16,
             num_heads=2)


def tiny(steps=2, **train):
  config = get_config()
  config.train.update(steps=steps, eval_every=0, ema_decay=None, **train)
  config.optim.warmup_steps = 0
  config.checkpoint.save_every = steps
  return config


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
  """A folder of three classes with eight images each."""
  root = tmp_path_factory.mktemp("pictures")
  rng = np.random.default_rng(0)
  for name in ("cat", "dog", "owl"):
    (root / name).mkdir()
    for i in range(8):
      Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(
          root / name / f"{i}.png")
  return root


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
  """A finished run on the digits."""
  folder = tmp_path_factory.mktemp("digits")
  loop.train(tiny(), str(folder))
  return folder


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arg"), [
    pytest.param("vit.py", "b16,oxford_iiit_pet", marks=pytest.mark.thorough),
    ("pretrain.py", "B/16,imagenet2012")])
def test_other_data_in_any_recipe_bring_their_classes(
    name, arg, pictures, tmp_path):
  config = get(name, arg)
  config.init.path = ""
  config.model.update(SMALL)
  config.data.update(source=str(pictures), split="train", image_size=8,
                     batch_size=8, num_threads=0)
  config.train.update(steps=1, epochs=0)
  config.optim.warmup_steps = 0
  for key in list(config.evals):
    del config.evals[key]
  config.evals.val = schema.eval_config(split="all")
  assert loop.train(config, str(tmp_path)).finished
  loaded = vit_jax.load(tmp_path / "model.npz")
  assert loaded.class_names == ("cat", "dog", "owl")
  assert loaded.model.num_classes == 3
  assert (tmp_path / "report.html").exists()
  assert json.loads((tmp_path / "config.json").read_text())[
      "config"]["model"]["num_classes"] == 3


@pytest.mark.parametrize("number", [2, 37])
def test_a_head_for_other_classes_is_refused_before_the_first_step(
    number, pictures, tmp_path):
  config = tiny()
  config.model.num_classes = number
  config.data.update(source=str(pictures), split="all")
  with pytest.raises(UserError, match=f"has 3 classes.*have {number} .*leave"):
    loop.train(config, str(tmp_path))
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fails", [
    pytest.param("write_report", marks=pytest.mark.thorough),
    pytest.param("predict_samples", marks=pytest.mark.slow)])
def test_a_report_that_fails_leaves_a_finished_run(
    fails, tmp_path, monkeypatch, caplog):
  def fail(*_, **__):
    raise IndexError("list index\nout of range")

  with monkeypatch.context() as patch:
    patch.setattr(loop, fails, fail)
    assert loop.train(tiny(report=True), str(tmp_path)).finished
  assert vit_jax.load(tmp_path / "model.npz").model.num_classes == 10
  assert "IndexError: list index out of range" in caplog.text
  advice = f"vit_jax report --workdir={tmp_path} --samples=24"
  assert advice in caplog.text
  assert not (tmp_path / "report.html").exists()
  from vit_jax import __main__

  assert not __main__.main(advice.split()[1:])
  assert "24 images" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(("variant", "options"), [
    ("Ti/4", {}), ("Ti/4", dict(pooling="gap", posemb="sincos2d")),
    ("Ti/4", dict(pooling="map", posemb="rope2d", qk_norm=True)),
    ("Ti/4", dict(posemb="none", qkv_bias=False, gelu="erf")),
    ("Ti/4", dict(block="axial", pooling="gap", scan=True)),
    ("Ti/4", dict(pre_logits=True, width=96, num_heads=2)),
    ("R+Ti/8", {}), ("R26+Ti/32", dict(depth=1)), ("R14x1", {})])
def test_what_a_run_writes_is_what_load_reads(variant, options, tmp_path):
  model = make_model(variant, num_classes=3, **options)
  flat = {name: np.zeros(shape, np.float32) for name, shape
          in expected_shapes(model, (32, 32)).items()}
  params = unflatten(stack_blocks(flat) if model.scan else flat)
  workdir.write_model(str(tmp_path), params, workdir.model_description(
      model, image_size=(32, 32), preprocess="resize({size})",
      class_names=["cat", "café", "k\udce4se"], scores={}, init=None, step=1))
  loaded = vit_jax.load(tmp_path / "model.npz")
  assert loaded.model.architecture() == model.architecture()
  assert loaded.class_names[:2] == ("cat", "café")


def start_from(path, **data):
  config = tiny()
  config.model = schema.default_config().model
  config.init.path = str(path)
  config.data.update(image_size=None, preprocess="resize({size})", **data)
  return config


def test_the_network_is_read_off_the_start_weights(digits, tmp_path, caplog):
  config = start_from(digits / "model.npz")
  with caplog.at_level(logging.INFO, logger="absl"):
    assert loop.train(config, str(tmp_path)).finished
  assert "custom/4 at 8x8 is what is trained" in caplog.text
  first, second = (vit_jax.load(f / "model.npz") for f in (digits, tmp_path))
  assert second.model.architecture() == first.model.architecture()
  assert second.config["image_size"] == (8, 8)
  recorded = json.loads((tmp_path / "config.json").read_text())["config"]
  assert recorded["model"]["width"] == first.model.width
  assert recorded["data"]["image_size"] == 8
  # The same command again, with the start weights gone.
  config.init.path = "gone.npz"
  assert loop.train(config, str(tmp_path)).finished
  (tmp_path / "model.json").unlink()
  (tmp_path / "model.npz").unlink()
  assert loop.train(config, str(tmp_path)).finished
  assert (tmp_path / "model.npz").exists()
  config.train.seed = 7
  with pytest.raises(UserError, match="train.seed was 0, now 7"):
    loop.train(config, str(tmp_path))


def test_another_network_than_the_start_weights_is_refused(digits, tmp_path):
  config = start_from(digits / "model.npz")
  config.model.variant = "B/16"
  config.data.image_size = 32
  with pytest.raises(UserError, match="the file is custom/4 .*, the config B/"):
    loop.train(config, str(tmp_path))
  assert not read_record(str(tmp_path))


def test_a_run_from_before_classes_were_open_goes_on(digits, tmp_path):
  config = schema.resolve(tiny())
  record = json.loads((digits / "config.json").read_text())
  assert record["config"]["model"]["num_classes"] == 10
  (tmp_path / "config.json").write_text(json.dumps(record))
  assert workdir.check_same_run(
      str(tmp_path), config).model.num_classes == 10
  # One that had written None is none the worse.
  record["config"]["model"]["num_classes"] = None
  (tmp_path / "config.json").write_text(json.dumps(record))
  run = setup.setup(tiny(), str(tmp_path))
  run.checkpointer.close()
  assert run.program.model.num_classes == 10
  assert pathlib.Path(tmp_path, "config.json").exists()

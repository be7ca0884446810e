"""Whatever names a model is opened: file, run, unfinished run, Orbax step."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.cli import arguments, opening
from vit_jax.config import schema
from vit_jax.errors import CheckpointError
from vit_jax.training.checkpoint import Checkpointer
from vit_jax.training.state import TrainState
from vit_jax.weights import convert, posemb_resize, trees
from vit_jax.weights.read import read_weights

CONFIG = dict(variant="Ti/4", width=16, depth=1, mlp_dim=32, num_heads=2)


@pytest.fixture(params=[False, True], ids=["plain", "average"])
def run(request, tmp_path, tiny_model):
  """An unfinished run: config.json and checkpoints of steps 2 and 3."""
  params = jax.tree.map(jnp.asarray, tiny_model[1])
  config = schema.default_config()
  config.model.update(**CONFIG)
  config.data.update(source="digits", image_size=8)
  config.train.steps = 9
  config.evals.test = schema.eval_config(
      preprocess="resize_small(10)|central_crop({size})")
  resolved = schema.resolve(config)
  (tmp_path / "config.json").write_text(json.dumps(
      {"config": json.loads(resolved.to_json_best_effort())}))
  (tmp_path / "metrics.jsonl").write_text("".join(
      json.dumps({"step": step, "eval/test/accuracy": step / 10}) + "\n"
      for step in (2, 3, 4)))
  checkpointer = Checkpointer(str(tmp_path), save_every=1, keep=2)
  for step in (2, 3):
    kept = jax.tree.map(lambda x, step=step: x + step, params)
    checkpointer.save(step, TrainState(
        step=jnp.int32(step), opt_state=(),
        params=params if request.param else kept,
        ema=kept if request.param else None), {})
  checkpointer.close()
  return tmp_path


def same(flat, params, shift):
  expected = {k: v + shift for k, v in trees.flatten(params).items()}
  assert set(flat) == set(expected)
  return all(np.array_equal(flat[k], expected[k]) for k in flat)


def test_an_unfinished_run_is_its_newest_checkpoint(run, tiny_model):
  file = opening.open_file(str(run))
  assert same(file.flat, tiny_model[1], 3)
  assert not same(file.flat, tiny_model[1], 2)
  assert file.image_size == (8, 8)
  assert file.metadata["preprocess"] == (
      "resize_small(10)|central_crop({size})")
  assert file.metadata["class_names"] == list("0123456789")
  assert file.metadata["scores"] == {"eval/test/accuracy": 0.3}


def test_one_step(run, tiny_model):
  for path in (run / "checkpoints/2", f"{run}/checkpoints/2/"):
    file = opening.open_file(str(path))
    assert same(file.flat, tiny_model[1], 2)
    assert file.metadata["step"] == 2


def test_a_step_runs_like_the_file_made_of_it(run, tmp_path):
  step = opening.open_model(str(run / "checkpoints/3"))
  out = tmp_path / "made.npz"
  convert.convert(opening.open_file(str(run)), out)
  made = opening.open_model(str(out))
  images = np.random.default_rng(0).integers(0, 256, (2, 11, 9, 3), np.uint8)
  logits = [np.asarray(x.model.apply(
      {"params": x.params}, x.preprocess(images))[0]) for x in (step, made)]
  assert np.abs(logits[0]).max() > 0.1
  np.testing.assert_array_equal(*logits)
  assert step.class_names == made.class_names == tuple("0123456789")


def test_a_finished_run_is_its_model(run, checkpoint):
  (run / "model.npz").write_bytes(checkpoint.read_bytes())
  assert opening.locate(str(run)) == str(run / "model.npz")
  assert opening.run_config(str(run))["data"]["source"] == "digits"


def test_a_file_is_of_no_run(checkpoint):
  assert opening.run_config(str(checkpoint)) is None
  assert same(opening.open_file(str(checkpoint)).flat,
              trees.unflatten(read_weights(checkpoint).flat), 0)


def test_a_damaged_step_is_named(run):
  for path in (run / "checkpoints/3/state").rglob("*"):
    if path.is_file():
      path.write_bytes(b"nothing")
  with pytest.raises(CheckpointError, match="checkpoints/3: a damaged"):
    opening.open_file(str(run))


def test_a_run_without_config_is_named(run):
  (run / "config.json").unlink()
  with pytest.raises(CheckpointError, match="config.json: the config"):
    opening.open_file(str(run))


def test_a_url_is_no_folder(checkpoint):
  for url in ("http://host/model.npz", "https://host/a/", "hf://a/b/c.npz"):
    assert opening.locate(url) == url
    assert opening.run_config(url) is None
  assert opening.locate(f"file://{checkpoint}") == str(checkpoint)
  assert opening.open_file(f"file://{checkpoint}").metadata["step"] == 7


def test_a_run_is_found_by_its_url(run):
  assert opening.locate(f"file://{run}").number == 3


def test_verbs_offer_every_method_of_resizing():
  assert arguments.METHODS == posemb_resize.METHODS


def test_what_a_verb_says_of_a_file_is_heeded(tmp_path, tiny_model):
  path = tmp_path / "model.safetensors"
  convert.write_weights(path, tiny_model[1], {}, "timm")
  (tmp_path / "model.json").unlink()
  parser = arguments.Parser("predict", "")
  arguments.add_checkpoint(parser)
  arguments.add_preprocess(parser)
  said = parser.parse([f"--checkpoint={path}", "--num_heads=4",
                       "--image_size=16", "--method=bicubic"])
  made = opening.open_model(str(path), said)
  assert made.model.num_heads == 4
  assert made.config["report"].resized == ((2, 2), (4, 4), "bicubic")

"""Masked patch prediction as a run: pre-train, load, fine-tune, resume."""

import json
import logging

import numpy as np
import pytest
from shipped_configs import check_works, get
from tiny_config import get_config

import vit_jax
from vit_jax.config.schema import eval_config
from vit_jax.errors import CheckpointError, UsageError
from vit_jax.objectives import trained_model
from vit_jax.training.loop import train
from vit_jax.weights.formats import npz
from vit_jax.weights.load import init_params


def pretraining(target="mean_colour"):
  config = get_config()
  config.model.update(dropout=0.0, stochastic_depth=0.0)
  config.optim.warmup_steps = 0
  config.objective.update(name="masked_patch", target=target)
  config.train.update(steps=4, eval_every=2, ema_decay=None)
  config.checkpoint.save_every = 2
  config.evals.val = eval_config(split="val", type="masked_patch")
  return config


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
  folder = tmp_path_factory.mktemp("masked")
  config = pretraining()
  config.train.report = True
  result = train(config, str(folder))
  return folder, result


def test_pretraining_is_scored(pretrained):
  folder, result = pretrained
  lines = [json.loads(line) for line in open(folder / "metrics.jsonl")]
  assert {"train/loss", "train/accuracy"} <= set(lines[0])
  assert result.scores["eval/val/examples"] == 179
  # From 1 in 512 on, in four steps.
  assert result.scores["eval/val/loss"] < np.log(512)
  assert (folder / "report.html").exists()


def test_the_file_loads_as_a_vit_and_says_once_what_it_drops(
    pretrained, caplog):
  folder, _ = pretrained
  stored = npz.read_npz(folder / "model.npz")
  assert {"mask_embedding", "mean_colour/kernel"} <= set(stored)
  with caplog.at_level(logging.WARNING):
    vit = vit_jax.load(folder / "model.npz")
  said = [m for m in caplog.messages if "masked patch prediction" in m]
  assert len(said) == 1
  assert ("3 arrays of masked patch prediction were dropped: mask_embedding, "
          "mean_colour/bias, mean_colour/kernel") in said[0]
  features, _ = vit.model.apply(
      {"params": vit.params}, np.zeros((1, 8, 8, 3), np.uint8))
  assert features.shape == (1, 32)
  assert "mask_embedding" not in vit.params


@pytest.mark.thorough
def test_finetuning_starts_from_it(pretrained, tmp_path):
  folder, _ = pretrained
  config = get_config()
  config.init.path = str(folder / "model.npz")
  config.data.split = "train[:64]"
  config.train.update(steps=1, eval_every=1)
  # A step of nothing: what is written is what was begun with.
  config.optim.update(learning_rate=0.0, warmup_steps=0)
  result = train(config, str(tmp_path))
  assert result.scores["eval/val/examples"] == 179
  before = npz.read_npz(folder / "model.npz")
  after = npz.read_npz(tmp_path / "model.npz")
  assert set(before) - set(after) == {
      "mask_embedding", "mean_colour/kernel", "mean_colour/bias"}
  assert set(after) - set(before) == {"head/kernel", "head/bias"}
  for name in set(before) & set(after):
    np.testing.assert_allclose(after[name], before[name], atol=1e-6)


def test_pretraining_goes_on_from_it(pretrained):
  folder, _ = pretrained
  model = vit_jax.load(folder / "model.npz").model
  params, report = init_params(
      folder / "model.npz", trained_model(model, name="masked_patch"), 8)
  assert report.messages == ()
  assert set(params) >= {"mask_embedding", "mean_colour"}
  with pytest.raises(CheckpointError, match="2 missing: reconstruction"):
    init_params(folder / "model.npz", trained_model(
        model, name="masked_patch", target="regression"), 8)


@pytest.mark.slow
def test_regression_trains_without_an_accuracy(tmp_path):
  config = pretraining("regression")
  config.train.update(steps=1)
  result = train(config, str(tmp_path))
  assert set(result.scores) == {"eval/val/loss", "eval/val/examples"}


def test_the_papers_recipe():
  config = get("masked_patch.py")
  check_works(config)
  assert config.model.variant == "B/16"
  assert (config.data.batch_size, config.data.image_size) == (4096, 224)
  assert config.data.preprocess == "inception_crop({size})|flip_lr"
  optim = config.optim
  assert (optim.name, optim.learning_rate, optim.warmup_steps) == (
      "adam", 2e-4, 10_000)
  assert (optim.schedule, optim.clip_norm) == ("cosine", None)
  assert config.train.steps == 1_000_000
  objective = config.objective
  assert (objective.name, objective.target, objective.corrupted) == (
      "masked_patch", "mean_colour", 0.5)


def test_the_rehearsals_differ_in_their_start_only():
  tuned, scratch = (get("masked_patch.py", f"digits,,{stage}").to_dict()
                    for stage in ("finetune", "scratch"))
  assert tuned.pop("init") != scratch.pop("init")
  assert tuned == scratch


def test_stages_are_for_the_digits():
  with pytest.raises(UsageError, match="finetune is for digits; fine-tune on "
                     "imagenet2012 with configs/vit.py"):
    get("masked_patch.py", "imagenet2012,,finetune")

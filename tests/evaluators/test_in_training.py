"""Evaluators as entries of a config, made as the training loop makes them."""

import pytest
from tiny_images import SIZE

from vit_jax.config import schema
from vit_jax.config.schema import default_config, eval_config
from vit_jax.devices.sharding import make_mesh
from vit_jax.errors import UsageError
from vit_jax.training.setup import make_evaluators


def recipe(**entry):
  config = default_config()
  config.data.update(source="digits", image_size=SIZE[0], batch_size=16,
                     num_threads=2, preprocess="resize({size})")
  config.train.steps = 1
  config.evals.probe = eval_config(**entry)
  return schema.resolve(config)


def test_few_shot_during_training(model, params):
  config = recipe(type="fewshot", split="val[:32]", train_split="train[:96]",
                  shots=(2,), num_seeds=2)
  evaluator = make_evaluators(config, model, make_mesh(), None)["probe"]
  scores = evaluator.run(params)
  assert set(scores) == {
      "accuracy_2shot", "accuracy_2shot_std", "examples"}
  assert scores["examples"] == 32


def test_a_key_of_another_type(model):
  config = recipe(labels="real.json")
  with pytest.raises(UsageError, match="labels='real.json' is not used by"):
    make_evaluators(config, model, make_mesh(), None)

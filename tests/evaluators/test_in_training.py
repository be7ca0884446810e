"""Evaluators as entries of a config, made as the training loop makes them."""

import dataclasses

import cv2
import numpy as np
import pytest
from tiny_images import SIZE

from vit_jax.config import schema
from vit_jax.config.schema import default_config, eval_config
from vit_jax.data.sources import make_source
from vit_jax.data.sources.classes import match_classes
from vit_jax.devices.sharding import make_mesh
from vit_jax.errors import DataError, UsageError
from vit_jax.evaluators.accuracy import Accuracy
from vit_jax.evaluators.context import EvalContext
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


@pytest.mark.parametrize("entry, metrics", [
    (dict(), {"accuracy", "accuracy_top5", "loss"}),
    (dict(type="calibration"), {"ece", "nll"}),
    (dict(type="fewshot", train_split="train[:96]", shots=(1, 2), num_seeds=1),
     {"accuracy_1shot", "accuracy_2shot"})])
def test_what_training_can_watch_is_among_the_scores(
    model, params, entry, metrics):
  config = recipe(split="val[:32]", **entry)
  evaluator = make_evaluators(config, model, make_mesh(), None)["probe"]
  assert set(evaluator.metrics) == metrics
  assert metrics <= set(evaluator.run(params))


def test_a_key_of_another_type(model):
  config = recipe(labels="real.json")
  with pytest.raises(UsageError, match="labels='real.json' is not used by"):
    make_evaluators(config, model, make_mesh(), None)


def images(root, *names):
  for name in names:
    for i in range(3):
      path = root / name / f"{i}.png"
      path.parent.mkdir(parents=True, exist_ok=True)
      cv2.imwrite(str(path), np.full((8, 8, 3), 40 * i, np.uint8))
  return str(root)


def test_a_source_of_its_own_is_labelled_by_the_names_of_training(
    model, tmp_path):
  """A test set of a and c only was numbered 0 and 1: a score of 0.5."""
  train = make_source(images(tmp_path / "train_set", *"abc"), split="all")
  config = recipe(source=images(tmp_path / "test_set", *"ac"), split="all")
  evaluator = make_evaluators(config, model, make_mesh(), None, train)["probe"]
  source = evaluator.source
  assert [source[i]["label"] for i in range(len(source))] == [0] * 3 + [2] * 3
  config = recipe(source=images(tmp_path / "other", *"ad"), split="all")
  with pytest.raises(DataError, match="class d is not one of the model's 3"):
    make_evaluators(config, model, make_mesh(), None, train)


def test_an_unlabelled_example_is_an_error(common, params, tmp_path):
  """It counted as wrong, with a loss of 0."""
  train = make_source(images(tmp_path, *"abc"), split="all")

  def read(index):
    return {**train.read(index), "label": -1}

  context = EvalContext(
      source=str(tmp_path), split="all", num_classes=3,
      class_names=("a", "b", "c"), **common)
  unlabelled = dataclasses.replace(train, read=read)
  source = match_classes(unlabelled, ("a", "b", "c"), 3)
  with pytest.raises(DataError, match=r"0\.png: label -1, but the classes are"):
    Accuracy(context, source).run(params)

"""Accuracy: every example exactly once, in sums, whatever the batches are."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny_images import SPLIT, top5

from vit_jax.data.sources import make_source
from vit_jax.devices.sharding import make_mesh
from vit_jax.errors import DataError, UsageError
from vit_jax.evaluators import make_evaluator
from vit_jax.evaluators.accuracy import Accuracy
from vit_jax.evaluators.context import EvalContext


def losses(logits, labels, loss):
  """The loss of each example, by its definition."""
  x = logits.astype(np.float64)
  y = np.eye(x.shape[-1])[labels]
  if loss == "softmax":
    return np.log(np.exp(x).sum(-1)) - x[np.arange(len(x)), labels]
  chance = 1 / (1 + np.exp(-x))
  return -(y * np.log(chance) + (1 - y) * np.log(1 - chance)).sum(-1)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_scores_are_the_means_over_every_example(
    common, params, logits, labels, loss):
  scores = make_evaluator(
      source="digits", split=SPLIT, loss=loss, **common).run(params)
  best = top5(logits)
  expected = {
      "accuracy": np.mean(best[:, 0] == labels),
      "accuracy_top5": np.mean((best == labels[:, None]).any(-1)),
      "loss": losses(logits, labels, loss).mean(), "examples": 40}
  assert scores == pytest.approx(expected, rel=1e-5)
  other = "softmax" if loss == "sigmoid" else "sigmoid"
  assert scores["loss"] != pytest.approx(
      losses(logits, labels, other).mean(), rel=1e-2)


def test_flip_scores_the_mean_logits_of_a_picture_and_its_mirror(
    common, params, answer, digits, labels):
  images = [image for image, _ in digits]
  mean = sum(answer([image[:, ::mirror] for image in images])[0]
             for mirror in (1, -1)) / 2
  scores = make_evaluator(
      source="digits", split=SPLIT, flip=True, **common).run(params)
  assert scores["loss"] == pytest.approx(
      losses(mean, labels, "softmax").mean(), rel=1e-5)
  assert scores["accuracy"] == np.mean(mean.argmax(axis=-1) == labels)
  plain = answer(images)[0]
  assert scores["loss"] != pytest.approx(
      losses(plain, labels, "softmax").mean(), rel=1e-3)


def test_flip_is_refused_where_no_logits_are_scored(common):
  with pytest.raises(UsageError, match="flip=True .* type='fewshot'"):
    make_evaluator(type="fewshot", source="digits", split=SPLIT, flip=True,
                   **common)


@pytest.mark.parametrize("batch_size, devices", [
    (8, 1), (16, 8), (48, 8), (40, 4)])
def test_any_batch_size_and_mesh_gives_the_same_sums(
    common, params, logits, labels, batch_size, devices):
  # 40 examples: batches of 16 and 48 are padded, those of 8 and 40 are not.
  changes = dict(
      batch_size=batch_size, mesh=make_mesh(devices=jax.devices()[:devices]))
  scores = make_evaluator(
      source="digits", split=SPLIT, **common | changes).run(params)
  assert scores["examples"] == 40
  assert scores["accuracy"] == pytest.approx(
      np.mean(top5(logits)[:, 0] == labels))
  # A mean of the batches' means would be another number.
  means = [losses(logits[i:i + 16], labels[i:i + 16], "softmax").mean()
           for i in (0, 16, 32)]
  exact = losses(logits, labels, "softmax").mean()
  assert abs(np.mean(means) - exact) > 1e-3
  assert scores["loss"] == pytest.approx(exact, rel=1e-5)


def test_a_head_of_five_classes_has_no_top_five(common, params, model):
  small = common | {"model": model.clone(num_classes=5)}
  with pytest.raises(DataError, match="10 classes, but the model's head has 5"):
    make_evaluator(source="digits", split=SPLIT, **small)
  source = make_source("digits", split=SPLIT)
  kept = [i for i in source.indices if source.read(int(i))["label"] < 5]
  source = dataclasses.replace(source, num_classes=5, indices=np.array(kept))
  evaluator = Accuracy(
      EvalContext(source="digits", split=SPLIT, **small), source)
  scores = evaluator.run(params | {"head": {
      "kernel": params["head"]["kernel"][:, :5], "bias": np.zeros(5)}})
  assert set(scores) == {"accuracy", "loss", "examples"}
  assert scores["examples"] == len(kept) < 40


def test_unreadable_images_are_counted_and_not_scored(
    common, params, digits, write, answer, tmp_path):
  paths = [write(tmp_path / "test" / f"{label:02}" / f"{i:02}.png", image)
           for i, (image, label) in enumerate(digits)]
  for label in range(10):
    write(tmp_path / "train" / f"{label:02}" / "x.png", digits[0][0])
  (tmp_path / "test" / f"{digits[3][1]:02}" / "03.png").write_bytes(b"broken")
  options = dict(source=str(tmp_path), split="test", **common)
  with pytest.raises(DataError, match="03.png"):
    make_evaluator(**options).run(params)
  scores = make_evaluator(max_broken=1, **options).run(params)
  assert (scores["examples"], scores["skipped"]) == (39, 1)
  logits, _ = answer(paths[:3] + paths[4:])
  labels = np.array([label for _, label in digits[:3] + digits[4:]])
  assert scores["accuracy"] == pytest.approx(
      np.mean(top5(logits)[:, 0] == labels))


def test_a_predict_function_takes_the_models_place(common, params, labels):
  seen = []

  def predict(_, images):
    seen.append(images.shape)
    return np.eye(12, dtype=np.float32)[np.zeros(len(images), int)]

  scores = make_evaluator(
      source="digits", split=SPLIT, predict=predict, **common).run(params)
  assert seen == [(16, 8, 8, 3)] * 3
  assert scores["accuracy"] == pytest.approx(np.mean(labels == 0))


def test_an_unknown_loss_is_refused(common):
  with pytest.raises(UsageError, match="loss='hinge' is unknown"):
    make_evaluator(source="digits", loss="hinge", **common)

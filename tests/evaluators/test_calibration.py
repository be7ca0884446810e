"""Calibration: the error of 15 bins by its definition, over whole splits."""

import jax
import numpy as np
import pytest
from tiny_images import SIZE, SPLIT

from vit_jax.data.preprocess import Preprocess
from vit_jax.data.sources import make_source
from vit_jax.devices.sharding import make_mesh
from vit_jax.errors import DataError
from vit_jax.evaluators import make_evaluator


def by_definition(logits, labels, bins=15):
  """Guo et al., equation 3, bin by bin."""
  x = logits.astype(np.float64)
  chances = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
  confidence, hits = chances.max(-1), x.argmax(-1) == labels
  error = 0.0
  for m in range(1, bins + 1):
    inside = ((m - 1) / bins < confidence) & (confidence <= m / bins)
    if inside.any():
      error += inside.mean() * abs(
          hits[inside].mean() - confidence[inside].mean())
  return error, -np.log(chances[np.arange(len(x)), labels]).mean()


@pytest.fixture(scope="module")
def fitted(params, answer):
  """Parameters whose head knows something: right and sure to some degree."""
  train = make_source("digits", split="train[:200]")
  _, features = answer([example["image"] for example in train])
  labels = [example["label"] for example in train]
  kernel, *_ = np.linalg.lstsq(features, np.eye(12)[labels], rcond=1e-3)
  return params | {"head": params["head"] | {
      "kernel": np.float32(6 * kernel)}}


@pytest.fixture(scope="module")
def expected(digits, model, fitted):
  """Logits and labels of the split that is scored."""
  images, labels = zip(*digits, strict=True)
  logits, _ = model.apply(
      {"params": fitted}, Preprocess("resize({size})", SIZE)(list(images)))
  return np.asarray(logits), np.array(labels)


@pytest.mark.parametrize("batch_size, devices", [(8, 1), (16, 8), (48, 4)])
def test_equals_its_definition_for_any_batch_and_mesh(
    common, fitted, expected, batch_size, devices):
  changes = dict(
      batch_size=batch_size, mesh=make_mesh(devices=jax.devices()[:devices]))
  scores = make_evaluator(
      type="calibration", source="digits", split=SPLIT,
      **common | changes).run(fitted)
  ece, nll = by_definition(*expected)
  assert scores == pytest.approx(
      {"ece": ece, "nll": nll, "examples": 40}, rel=1e-5)
  # Other bins, and a mean over batches, give other errors.
  logits, labels = expected
  assert abs(by_definition(*expected, bins=10)[0] - ece) > 1e-3
  parts = [by_definition(logits[i:i + 8], labels[i:i + 8])[0]
           for i in range(0, 40, 8)]
  assert abs(np.mean(parts) - ece) > 1e-2


@pytest.mark.parametrize("right, ece", [(40, 0.0), (20, 0.5), (0, 1.0)])
def test_a_model_that_is_always_sure(common, params, digits, right, ece):
  # Confidence 1 is in the last bin; the error is the share of wrong answers.
  labels = np.array([label for _, label in digits])
  answers = np.where(np.arange(40) < right, labels, (labels + 1) % 10)
  rows = iter(np.split(np.concatenate([answers, np.zeros(8, int)]), 3))

  def predict(_, images):
    return 1e3 * np.eye(12, dtype=np.float32)[next(rows)]

  scores = make_evaluator(
      type="calibration", source="digits", split=SPLIT, predict=predict,
      **common).run(params)
  assert scores["ece"] == pytest.approx(ece, abs=1e-6)
  assert scores["nll"] == pytest.approx(1e3 * ece, abs=1e-3)


def test_more_classes_than_the_head_are_refused(common):
  small = common["model"].clone(num_classes=9)
  with pytest.raises(DataError, match="10 classes, but the model's head has 9"):
    make_evaluator(type="calibration", source="digits",
                   **common | {"model": small})

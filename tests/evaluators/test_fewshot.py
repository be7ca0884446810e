"""The few-shot probe: the closed form, the draws, and the whole on digits."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from vit_jax.data.sources import make_source
from vit_jax.errors import UsageError
from vit_jax.evaluators import make_evaluator
from vit_jax.evaluators.fewshot import BIAS, classify, draw, fit

L2 = 2.0**10


def problem(n, d, classes=4):
  rng = np.random.default_rng(n)
  labels = rng.integers(classes, size=n)
  x = rng.normal(size=(n, d)) * rng.uniform(0.1, 9, d) + rng.normal(size=d)
  x[:, 0] += labels
  return x.astype(np.float32), labels


def standardised(x, mean, std):
  return np.concatenate([(x - mean) / std, np.full((len(x), 1), BIAS)], axis=1)


@pytest.mark.parametrize("n, d", [(60, 12), (13, 12), (12, 12), (9, 30)])
def test_weights_minimise_the_regularised_squares(n, d):
  x, labels = problem(n, d)
  mean, std, weights = fit(x, labels, 4, L2)
  np.testing.assert_allclose(mean, x.astype(np.float64).mean(axis=0))
  np.testing.assert_allclose(std, x.astype(np.float64).std(axis=0) + 1e-5)
  z, y = standardised(x, mean, std), 2.0 * np.eye(4)[labels] - 1
  # The same minimum as of an ordinary problem with more rows.
  rows = np.concatenate([z, np.sqrt(L2) * np.eye(d + 1)])
  right = np.concatenate([y, np.zeros((d + 1, 4))])
  expected, *_ = np.linalg.lstsq(rows, right, rcond=None)
  np.testing.assert_allclose(weights, expected, rtol=1e-8, atol=1e-12)
  ridge = Ridge(alpha=L2, fit_intercept=False, solver="cholesky").fit(z, y)
  np.testing.assert_allclose(weights, ridge.coef_.T, rtol=1e-7, atol=1e-11)
  # Another weight of the norm is another minimum.
  assert not np.allclose(weights, fit(x, labels, 4, L2 / 2)[2], rtol=1e-3)


def test_more_examples_than_features_or_fewer_is_the_same_form():
  """Features that are constant change nothing but the way of solving."""
  x, labels = problem(20, 12)
  padded = np.concatenate([x, np.ones((20, 30), np.float32)], axis=1)
  few, many = fit(x, labels, 4, L2), fit(padded, labels, 4, L2)
  assert len(x) >= few[2].shape[0] and len(x) < many[2].shape[0]
  np.testing.assert_allclose(
      few[2], np.delete(many[2], np.s_[12:42], axis=0), rtol=1e-9)
  np.testing.assert_array_equal(classify(few, x), classify(many, padded))


def test_a_class_that_never_occurs_is_never_chosen():
  x, labels = problem(40, 12)
  assert 4 not in classify(fit(x, labels, 5, L2), x)


def test_draws_are_nested_and_of_every_class():
  labels = np.repeat(np.arange(5), [30, 30, 30, 30, 3])
  five, ten = (draw(labels, 5, shots, seed=1) for shots in (5, 10))
  assert set(five) <= set(ten)
  assert np.bincount(labels[ten]).tolist() == [10, 10, 10, 10, 3]
  np.testing.assert_array_equal(five, draw(labels, 5, 5, seed=1))
  assert set(five) != set(draw(labels, 5, 5, seed=2))


def test_on_digits_it_is_the_probe_of_the_models_features(
    common, params, answer):
  evaluator = make_evaluator(
      type="fewshot", source="digits", train_split="train[:400]",
      split="test[:100]", shots=(1, 10), num_seeds=2, loss="softmax", **common)
  scores = evaluator.run(params)
  data = {}
  for split in ("train[:400]", "test[:100]"):
    source = make_source("digits", split=split)
    _, features = answer([x["image"] for x in source])
    data[split] = features, np.array([x["label"] for x in source])
  (x, y), (x_test, y_test) = data.values()
  for shots in (1, 10):
    accuracies = []
    for seed in range(2):
      chosen = draw(y, 10, shots, seed)
      probe = fit(x[chosen], y[chosen], 10, L2)
      accuracies.append(np.mean(classify(probe, x_test) == y_test))
    # Features are float32: a picture on the edge may fall to either side.
    assert scores[f"accuracy_{shots}shot"] == pytest.approx(
        np.mean(accuracies), abs=0.02)
    assert f"accuracy_{shots}shot_std" in scores
  assert scores["examples"] == 100
  # A random network still separates digits: ten examples help.
  assert scores["accuracy_10shot"] > scores["accuracy_1shot"] > 0.15
  assert scores["accuracy_10shot"] > 0.3


@pytest.mark.parametrize("changes", [
    {"shots": ()}, {"shots": (0,)}, {"num_seeds": 0}, {"l2": 0.0}])
def test_numbers_that_cannot_be(common, changes):
  with pytest.raises(UsageError, match="few-shot probe"):
    make_evaluator(type="fewshot", source="digits", **common | changes)

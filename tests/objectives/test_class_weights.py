"""Class weights: what an example counts, balanced or given."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.data.sources import make_source
from vit_jax.data.sources.classes import LabelError, count_labels
from vit_jax.errors import UsageError
from vit_jax.models.inputs import normalize
from vit_jax.models.variants import make_model
from vit_jax.objectives import make_loss
from vit_jax.objectives.class_weights import example_weights
from vit_jax.objectives.classification import loss_function, smooth_labels
from vit_jax.objectives.mixing import draw_shares

WEIGHTS = (0.5, 2.0, 0.0, 1.25)


@pytest.fixture(scope="module")
def model():
  return make_model("Ti/4", num_classes=4, width=8, depth=1, mlp_dim=8,
                    num_heads=2, dtype="float32")


@pytest.fixture(scope="module")
def params(model):
  params = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
  params["head"]["kernel"] = jax.random.normal(jax.random.key(1), (8, 4))
  return params


@pytest.fixture(scope="module")
def batch():
  rng = np.random.default_rng(0)
  return {"image": rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8),
          "label": np.array([0, 1, 2, 3, 1, 0], np.int32)}


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_of_weight_times_loss(
    model, params, batch, loss, smoothing):
  got, metrics = make_loss(
      model, loss=loss, label_smoothing=smoothing, class_weights=WEIGHTS)(
          params, batch, jax.random.key(0))
  plain, same = make_loss(model, loss=loss, label_smoothing=smoothing)(
      params, batch, jax.random.key(0))
  logits, _ = model.apply(
      {"params": params}, normalize(batch["image"], jnp.float32))
  losses = loss_function(loss)(
      logits, smooth_labels(batch["label"], 4, smoothing))
  expected = np.mean(np.array(WEIGHTS)[batch["label"]] * np.asarray(losses))
  np.testing.assert_allclose(got, expected, rtol=1e-5)
  assert abs(float(plain) - expected) > 1e-2
  assert metrics == same  # Accuracy counts every example once.


@pytest.mark.parametrize("options", [dict(mixup=0.8), dict(cutmix=1.0)])
def test_mixed_examples_have_mixed_weights(model, params, batch, options):
  rng = jax.random.key(4)
  got, _ = make_loss(model, class_weights=WEIGHTS, **options)(
      params, batch, rng)
  pixels, share = draw_shares(
      rng, **dict(mixup=0.0, cutmix=0.0) | options, size=(8, 8))
  before = [5, *range(5)]
  images = np.float32(
      pixels * batch["image"] + (1 - pixels) * batch["image"][before])
  logits, _ = model.apply({"params": params}, normalize(images, jnp.float32))
  rows = np.eye(4)[batch["label"]]
  targets = np.float32(share * rows + (1 - share) * rows[before])
  losses = loss_function("softmax")(logits, targets)
  np.testing.assert_allclose(
      got, np.mean(targets @ np.array(WEIGHTS) * losses), rtol=1e-5)


def test_balanced_makes_all_classes_count_the_same():
  counts = [10, 30, 0, 60]
  weights = example_weights("balanced", counts, 5)
  # n / (k n_c), of the three classes that have examples.
  np.testing.assert_allclose(
      weights, [100 / 30, 100 / 90, 0, 100 / 180, 0], rtol=1e-6)
  totals = weights[:4] * counts
  np.testing.assert_allclose(totals[totals > 0], 100 / 3, rtol=1e-6)


def test_without_data_balanced_is_one_and_without_weights_nothing():
  np.testing.assert_array_equal(
      example_weights("balanced", None, 3), np.ones(3))
  assert example_weights((), None, 3) is None


@pytest.mark.parametrize("weights, message", [
    ((1.0, 2.0), "has 2 numbers, but there are 4 classes"),
    ("balance", "'balance': 'balanced' or one number for each"),
    ((1, 1, 1, -1), "numbers from 0 up"),
    ((1, 1, 1, float("nan")), "numbers from 0 up"),
    (("a", 1, 1, 1), "numbers from 0 up"),
    ((0, 0, 0, 0), "not all of them 0")])
def test_wrong_weights_are_refused(model, weights, message):
  with pytest.raises(UsageError, match=message) as error:
    make_loss(model, class_weights=weights)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("known", [True, False])
def test_labels_are_counted_whether_known_before_or_read(known):
  source = make_source("digits", split="val")
  read = [source[i]["label"] for i in range(len(source))]
  source = dataclasses.replace(
      source, labels=np.array(read) if known else None)
  expected = [read.count(label) for label in range(10)]
  assert count_labels(source).tolist() == expected
  if not known:
    with pytest.raises(LabelError):
      count_labels(dataclasses.replace(source, num_classes=5))

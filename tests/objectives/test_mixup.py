"""mixup: shares, labels, the same on any mesh and under accumulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.devices.sharding import make_mesh, put_batch
from vit_jax.errors import UsageError
from vit_jax.models.inputs import normalize
from vit_jax.models.vit import VisionTransformer
from vit_jax.objectives.classification import make_loss, mix
from vit_jax.training.step import accumulated_gradients


@pytest.fixture(scope="module")
def model():
  return VisionTransformer(
      num_classes=5, patch_size=(4, 4), width=16, depth=1, mlp_dim=16,
      num_heads=2)


@pytest.fixture(scope="module")
def batch():
  rng = np.random.default_rng(0)
  return {"image": rng.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8),
          "label": rng.integers(0, 5, 8).astype(np.int32)}


@pytest.fixture(scope="module")
def params(model, batch):
  shapes = jax.eval_shape(
      model.init, jax.random.key(0), batch["image"])["params"]
  leaves, tree = jax.tree.flatten(shapes)
  rng = np.random.default_rng(1)
  return jax.tree.unflatten(tree, [
      rng.normal(0, 0.3, x.shape).astype(np.float32) for x in leaves])


def weights(alpha, count=4000):
  keys = jax.random.split(jax.random.key(0), count)
  return np.asarray(jax.vmap(
      lambda key: mix(key, alpha, jnp.zeros((2,)))[0])(keys))


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.8])
def test_the_share_is_betas_turned_above_one_half(alpha):
  drawn = weights(alpha)
  assert (drawn >= 0.5).all() and (drawn <= 1.0).all()
  # Var Beta(a, a) = 1 / (4 (2 a + 1)) is the mean of (w - 1/2)^2, turned about
  # or not.
  second = ((drawn - 0.5) ** 2).mean()
  assert abs(second - 1 / (4 * (2 * alpha + 1))) < 0.005
  assert abs(((weights(1.0) - 0.5) ** 2).mean() - second) > 0.005


def test_rows_are_moved_by_one():
  _, (x, y) = mix(jax.random.key(0), 0.2, jnp.arange(4), jnp.eye(4))
  assert x.tolist() == [3, 0, 1, 2]
  np.testing.assert_array_equal(y, np.eye(4)[[3, 0, 1, 2]])


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_loss_is_that_of_the_mixed_batch(model, params, batch, loss):
  rng = jax.random.key(3)
  got, metrics = make_loss(model, loss=loss, mixup=0.8, label_smoothing=0.1)(
      params, batch, rng)
  weight, _ = mix(
      jax.random.fold_in(rng, 0x6D6978), 0.8, batch["label"])
  before = [7, *range(7)]
  mixed = {
      "image": weight * batch["image"] + (1 - weight) * np.float32(
          batch["image"][before]),
      "label": weight * np.eye(5)[batch["label"]] + (
          1 - weight) * np.eye(5)[batch["label"][before]]}
  want, mixed_metrics = make_loss(model, loss=loss, label_smoothing=0.1)(
      params, mixed, rng)
  plain, _ = make_loss(model, loss=loss, label_smoothing=0.1)(
      params, batch, rng)
  assert abs(float(plain) - float(want)) > 1e-3
  np.testing.assert_allclose(got, want, rtol=1e-5)
  assert metrics["accuracy"] == mixed_metrics["accuracy"]


def test_without_mixup_nothing_changes(model, params, batch):
  rng = jax.random.key(3)
  loss, _ = make_loss(model, mixup=0.0)(params, batch, rng)
  logits, _ = model.apply(
      {"params": params}, normalize(batch["image"], jnp.float32))
  logp = jax.nn.log_softmax(logits)
  np.testing.assert_allclose(
      loss, -logp[np.arange(8), batch["label"]].mean(), rtol=1e-5)


@pytest.mark.parametrize("count", [1, 2])
def test_is_the_same_on_any_mesh(model, params, batch, count):
  loss_fn = make_loss(model, mixup=0.5)
  results = []
  for sizes in (dict(data=1), dict(data=4), dict(data=2, fsdp=2)):
    devices = jax.devices()[:np.prod(list(sizes.values()))]
    mesh = make_mesh(**sizes, devices=devices)
    results.append(jax.jit(
        lambda p, b, r: accumulated_gradients(loss_fn, p, b, r, count))(
            params, put_batch(batch, mesh, 8), jax.random.key(5)))
  other = loss_fn(params, batch, jax.random.key(6))[0]
  assert abs(float(other) - float(results[0][0])) > 1e-4
  for result in results[1:]:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(
        jax.device_get(x), jax.device_get(y), rtol=1e-4, atol=1e-6),
                 results[0], result)


def test_micro_batches_have_shares_of_their_own(model, params, batch):
  loss_fn = make_loss(model, mixup=0.5)
  rng = jax.random.key(5)
  loss, _, _ = accumulated_gradients(loss_fn, params, batch, rng, 2)
  parts = [
      loss_fn(params, {k: v[i::2] for k, v in batch.items()},
              jax.random.fold_in(rng, i))[0] for i in range(2)]
  np.testing.assert_allclose(loss, np.mean(parts), rtol=1e-5)


@pytest.mark.parametrize(("key", "value"), [
    ("mixup", -0.1), ("mixup", float("inf")), ("label_smoothing", 1.0)])
def test_errors_name_the_key(model, key, value):
  with pytest.raises(UsageError, match=f"objective.{key}={value}"):
    make_loss(model, **{key: value})

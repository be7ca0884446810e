"""mixup and CutMix: shares, labels, any mesh, accumulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.devices.sharding import make_mesh, put_batch
from vit_jax.errors import UsageError
from vit_jax.models.inputs import normalize
from vit_jax.models.vit import VisionTransformer
from vit_jax.objectives.classification import make_loss
from vit_jax.objectives.mixing import (
  blend,
  cutmix_kept,
  draw_shares,
  mixup_share,
)
from vit_jax.objectives.streams import fold_in_stream
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
      lambda key: mixup_share(key, alpha))(keys))


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
  assert blend(jnp.float32(0), jnp.arange(4)).tolist() == [3, 0, 1, 2]
  np.testing.assert_array_equal(
      blend(jnp.float32(0.75), jnp.eye(4)),
      0.75 * np.eye(4) + 0.25 * np.eye(4)[[3, 0, 1, 2]])


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_loss_is_that_of_the_mixed_batch(model, params, batch, loss):
  rng = jax.random.key(3)
  got, metrics = make_loss(model, loss=loss, mixup=0.8, label_smoothing=0.1)(
      params, batch, rng)
  weight = mixup_share(jax.random.fold_in(rng, 0x6D6978), 0.8)
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


def kept(alpha, size, count):
  keys = jax.random.split(jax.random.key(1), count)
  return np.asarray(jax.vmap(
      lambda key: cutmix_kept(key, alpha, size))(keys))


def test_cutmix_cuts_one_box_of_yuns_size_clipped_to_the_picture():
  size = (9, 14)
  keys = jax.random.split(jax.random.key(1), 300)
  clipped = 0
  for mask, key in zip(kept(1.0, size, 300), keys, strict=True):
    side = np.sqrt(np.float32(1) - np.asarray(
        jax.random.beta(jax.random.split(key, 3)[0], 1.0, 1.0)))
    extents = [int(np.floor(side * np.float32(n))) for n in size]
    assert set(np.unique(mask)) <= {0.0, 1.0}
    rows, columns = (np.flatnonzero((mask == 0).any(axis=1 - axis))
                     for axis in (0, 1))
    assert (mask == 0).sum() == len(rows) * len(columns)  # One rectangle.
    for found, extent, length in zip(
        (rows, columns), extents, size, strict=True):
      if not len(found):
        continue
      assert (np.diff(found) == 1).all()
      assert len(found) <= extent
      if len(found) < extent:
        clipped += 1
        assert found[0] == 0 or found[-1] == length - 1
  assert clipped > 50


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
@pytest.mark.parametrize("seed", [3, 4, 6])
def test_cutmix_weighs_labels_by_their_pixels(
    model, params, batch, loss, seed):
  rng = jax.random.key(seed)
  options = dict(loss=loss, label_smoothing=0.1)
  got, metrics = make_loss(model, cutmix=1.0, **options)(params, batch, rng)
  _, key = jax.random.split(fold_in_stream(rng, "cutmix"))
  own = np.asarray(cutmix_kept(key, 1.0, (8, 8))) == 1
  before = [7, *range(7)]
  share = own.sum() / 64
  cut = {
      "image": np.where(
          own[None, ..., None], batch["image"], batch["image"][before]),
      "label": np.float32(share * np.eye(5)[batch["label"]] + (
          1 - share) * np.eye(5)[batch["label"][before]])}
  want, _ = make_loss(model, **options)(params, cut, rng)
  np.testing.assert_allclose(got, want, rtol=1e-5)
  # The accuracy is that of the label which has more of the picture.
  larger = batch["label"] if share >= 0.5 else batch["label"][before]
  logits, _ = model.apply(
      {"params": params}, normalize(cut["image"], jnp.float32))
  assert metrics["accuracy"] == (
      np.asarray(logits).argmax(axis=-1) == larger).mean()


def test_with_both_a_batch_is_mixed_or_cut_with_equal_chances():
  def shares(key):
    return draw_shares(key, mixup=0.4, cutmix=1.0, size=(6, 6))

  keys = jax.random.split(jax.random.key(2), 600)
  pixels, labels = jax.vmap(shares)(keys)
  is_cut = np.isin(np.asarray(pixels), [0, 1]).all(axis=(1, 2, 3, 4))
  assert 0.42 < is_cut.mean() < 0.58
  np.testing.assert_allclose(
      labels, np.asarray(pixels).mean(axis=(1, 2, 3, 4)), atol=1e-6)
  # The others are mixed as without CutMix: by the same draw, in every pixel.
  alone = jax.vmap(lambda key: draw_shares(
      key, mixup=0.4, cutmix=0.0, size=(6, 6))[1])(keys)
  np.testing.assert_array_equal(labels[~is_cut], alone[~is_cut])


@pytest.mark.parametrize("count", [
    pytest.param(1, marks=pytest.mark.thorough), 2])
@pytest.mark.parametrize("options", [
    *(pytest.param(one, marks=pytest.mark.thorough)
      for one in (dict(mixup=0.5), dict(cutmix=1.0))),
    pytest.param(dict(mixup=0.5, cutmix=1.0), marks=pytest.mark.slow)])
def test_is_the_same_on_any_mesh(model, params, batch, count, options):
  loss_fn = make_loss(model, **options)
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


@pytest.mark.parametrize("key", ["mixup", "cutmix"])
def test_micro_batches_have_shares_of_their_own(model, params, batch, key):
  loss_fn = make_loss(model, **{key: 0.5})
  rng = jax.random.key(5)
  loss, _, _ = accumulated_gradients(loss_fn, params, batch, rng, 2)
  parts = [
      loss_fn(params, {k: v[i::2] for k, v in batch.items()},
              jax.random.fold_in(rng, i))[0] for i in range(2)]
  np.testing.assert_allclose(loss, np.mean(parts), rtol=1e-5)


@pytest.mark.parametrize(("key", "value"), [
    ("mixup", -0.1), ("mixup", float("inf")), ("label_smoothing", 1.0),
    ("cutmix", -1.0)])
def test_errors_name_the_key(model, key, value):
  with pytest.raises(UsageError, match=f"objective.{key}={value}"):
    make_loss(model, **{key: value})

"""Masked patch prediction: corruption, targets, loss, evaluator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.devices.sharding import make_mesh, put_batch
from vit_jax.errors import UsageError
from vit_jax.evaluators import make_evaluator
from vit_jax.models.masked_vit import KEEP, MASK, REPLACE, masked_patch_model
from vit_jax.models.vit import VisionTransformer
from vit_jax.objectives import make_loss, masked_patch, trained_model
from vit_jax.training.step import accumulated_gradients

TARGETS = ("mean_colour", "colour_4x4", "regression")


@pytest.fixture(scope="module")
def plain():
  return VisionTransformer(
      num_classes=10, patch_size=(4, 4), width=16, depth=1, mlp_dim=16,
      num_heads=2)


@pytest.fixture(scope="module")
def batch():
  rng = np.random.default_rng(0)
  return {"image": rng.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8),
          "label": np.zeros(8, np.int32)}


def random_params(model, images):
  shapes = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
  leaves, tree = jax.tree.flatten(shapes)
  rng = np.random.default_rng(1)
  return jax.tree.unflatten(tree, [
      rng.normal(0, 0.3, x.shape).astype(np.float32) for x in leaves])


def keys(count, seed=0):
  return jax.random.split(jax.random.key(seed), count)


# Corruption.


def test_shares_of_what_happens_to_patches():
  n, pictures = 196, 400
  drawn = jax.jit(masked_patch.draw_corruption, static_argnums=(1, 2))(
      keys(pictures), n, 0.5)
  assert drawn.positions.shape == (pictures, 98)
  chosen = np.zeros((pictures, n), bool)
  np.put_along_axis(chosen, np.asarray(drawn.positions), True, axis=1)
  assert (chosen.sum(axis=1) == 98).all()
  action = np.asarray(drawn.action)
  assert (action[~chosen] == KEEP).all()
  total = pictures * 98
  for kind, share in ((MASK, 0.8), (REPLACE, 0.1), (KEEP, 0.1)):
    got = (action[chosen] == kind).mean()
    # Five standard deviations of a binomial share.
    assert abs(got - share) < 5 * np.sqrt(share * (1 - share) / total)
  # Every place is corrupted as often as any other.
  assert abs(chosen.mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(pictures)


def test_another_patch_is_never_the_same_one_and_evenly_drawn():
  other = np.asarray(masked_patch.draw_corruption(keys(3000), 5, 0.4).other)
  assert (other != np.arange(5)).all()
  for place in range(5):
    counts = np.bincount(other[:, place], minlength=5)
    assert counts[place] == 0
    rest = np.delete(counts, place) / 3000
    assert abs(rest - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 3000)


def test_pictures_are_corrupted_independently_and_by_their_key_alone():
  whole = masked_patch.draw_corruption(keys(4), 16, 0.5)
  part = masked_patch.draw_corruption(keys(4)[2:3], 16, 0.5)
  np.testing.assert_array_equal(whole.positions[2:3], part.positions)
  np.testing.assert_array_equal(whole.action[2:3], part.action)
  assert (whole.positions[0] != whole.positions[1]).any()


def test_at_least_one_patch():
  with pytest.raises(UsageError, match=r"corrupted=0.1 of 4 patches is none"):
    masked_patch.draw_corruption(keys(1), 4, 0.1)


# Targets.


def test_mean_colour_by_hand():
  image = np.zeros((1, 2, 4, 3), np.uint8)
  image[0, :, :2] = (255, 0, 128)  # levels 7, 0, 4
  image[0, 0, 2:] = (32, 63, 64)
  image[0, 1, 2:] = (32, 65, 0)  # means 32, 64, 32: levels 1, 2, 1
  classes = masked_patch.colour_classes(image, (1, 2), (2, 2), 1)
  assert classes.tolist() == [[[7 * 64 + 4], [64 + 2 * 8 + 1]]]


def test_a_mean_just_below_a_border_stays_below():
  image = np.full((1, 16, 16, 3), 96, np.uint8)
  image[0, 3, 5] = 95
  assert masked_patch.colour_classes(
      image, (1, 1), (16, 16), 1).item() == 2 * 73
  image[0, 3, 6] = 97
  assert masked_patch.colour_classes(
      image, (1, 1), (16, 16), 1).item() == 3 * 73


@pytest.mark.parametrize("side", [4, 8, 6, 14])
def test_parts_are_equal_areas(side):
  rng = np.random.default_rng(side)
  image = rng.integers(0, 256, (2, side, 2 * side, 3), dtype=np.uint8)
  got = masked_patch.colour_classes(image, (1, 2), (side, side), 4)
  # Each pixel as 4x4 small ones: then every part has whole pixels.
  fine = image.astype(np.int64).repeat(4, axis=1).repeat(4, axis=2)
  parts = fine.reshape(2, 4, side, 2, 4, side, 3).sum(axis=(2, 5))
  levels = parts // (32 * side * side)
  expected = (levels * (64, 8, 1)).sum(axis=-1)  # b, row, patch, column
  np.testing.assert_array_equal(
      got.reshape(2, 2, 4, 4), expected.transpose(0, 2, 1, 3))


def test_pixels_of_patches_are_what_the_embedding_sees():
  image = np.arange(96).reshape(1, 4, 8, 3).astype(np.uint8)
  got = masked_patch.patch_pixels(image, (2, 4), (2, 2))
  expected = (image[0, 2:4, 2:4].reshape(-1) - 127.5) / 127.5
  np.testing.assert_allclose(got[0, 5], expected, rtol=1e-6)


def test_pixels_beyond_the_patches_do_not_count():
  image = np.zeros((1, 7, 9, 3), np.uint8)
  image[:, 6:], image[:, :, 8:] = 255, 255
  assert not masked_patch.colour_classes(image, (3, 4), (2, 2), 1).any()


# Loss.


@pytest.mark.parametrize("target", TARGETS)
def test_loss_by_hand(plain, batch, target):
  model = masked_patch_model(plain, target=target, corrupted=0.5)
  corruption = masked_patch.draw_corruption(keys(8), 16, 0.5)
  rng = np.random.default_rng(2)
  predictions = rng.normal(size=(8, 8, model.prediction_width)).astype("f")
  got = masked_patch.scores(model, predictions, batch["image"], corruption)
  for b in range(8):
    losses, hits = [], []
    for i, position in enumerate(np.asarray(corruption.positions[b])):
      row, column = divmod(int(position), 4)
      pixels = batch["image"][b, 4 * row:4 * row + 4,
                              4 * column:4 * column + 4].astype(np.float64)
      if target == "regression":
        wrong = predictions[b, i] - (pixels.ravel() - 127.5) / 127.5
        losses.append((wrong ** 2).mean())
        continue
      cells = ([pixels.mean(axis=(0, 1))] if target == "mean_colour"
               else pixels.reshape(16, 3))
      for cell, logits in zip(cells, predictions[b, i].reshape(-1, 512),
                              strict=True):
        label = int((cell // 32) @ (64, 8, 1))
        losses.append(np.log(np.exp(logits).sum()) - logits[label])
        hits.append(logits.argmax() == label)
    np.testing.assert_allclose(got["loss"][b], np.mean(losses), rtol=1e-4)
    if target == "regression":
      assert "accuracy" not in got
    else:
      np.testing.assert_allclose(got["accuracy"][b], np.mean(hits), rtol=1e-5)


def test_only_corrupted_patches_are_targets(plain, batch):
  model = masked_patch_model(plain, target="regression", corrupted=0.5)
  corruption = masked_patch.draw_corruption(keys(8), 16, 0.5)
  predictions = jnp.zeros((8, 8, 48))

  def loss(images):
    return masked_patch.scores(model, predictions, images, corruption)["loss"]

  changed = np.asarray(jax.grad(lambda x: loss(x).sum())(
      batch["image"].astype(np.float32)))
  cells = np.abs(changed).reshape(8, 4, 4, 4, 4, 3).sum(axis=(2, 4, 5))
  touched = np.zeros((8, 16), bool)
  np.put_along_axis(touched, np.asarray(corruption.positions), True, axis=1)
  np.testing.assert_array_equal(cells.reshape(8, 16) > 0, touched)


@pytest.mark.parametrize("target", TARGETS)
def test_gradient_reaches_mask_and_everything_else(plain, batch, target):
  model = trained_model(plain, name="masked_patch", target=target)
  params = random_params(model, batch["image"])
  loss_fn = make_loss(model, name="masked_patch", target=target)
  grads, _ = jax.jit(jax.grad(loss_fn, has_aux=True))(
      params, batch, jax.random.key(0))
  sizes = {jax.tree_util.keystr(path): float(jnp.abs(g).max())
           for path, g in jax.tree_util.tree_leaves_with_path(grads)}
  silent = [name for name, size in sizes.items() if size == 0]
  assert silent == []
  assert sizes["['mask_embedding']"] > 1e-4


def test_is_the_same_on_any_mesh(plain, batch):
  model = trained_model(plain, name="masked_patch")
  params = random_params(model, batch["image"])
  loss_fn = make_loss(model, name="masked_patch")
  step = jax.jit(lambda p, b, r: accumulated_gradients(loss_fn, p, b, r, 2))
  results = []
  for sizes in (dict(data=1), dict(data=2, fsdp=2)):
    devices = jax.devices()[:np.prod(list(sizes.values()))]
    mesh = make_mesh(**sizes, devices=devices)
    results.append(step(params, put_batch(batch, mesh, 8), jax.random.key(5)))
  other = loss_fn(params, batch, jax.random.key(6))[0]
  assert abs(float(other) - float(results[0][0])) > 1e-4
  jax.tree.map(lambda x, y: np.testing.assert_allclose(
      jax.device_get(x), jax.device_get(y), rtol=1e-4, atol=1e-5), *results)


def test_objectives_refuse_what_they_do_not_use(plain):
  model = trained_model(plain, name="masked_patch")
  for key in ("mixup", "cutmix", "label_smoothing"):
    with pytest.raises(UsageError, match=f"objective.{key}=0.1 is about label"):
      make_loss(model, name="masked_patch", **{key: 0.1})
  with pytest.raises(UsageError, match="did you mean 'masked_patch'"):
    trained_model(plain, name="masked_patches")
  assert trained_model(plain, name="classification") is plain


# Evaluator.


def test_evaluation_is_the_same_for_any_batch_and_mesh(plain):
  model = trained_model(plain, name="masked_patch")
  params = random_params(model, np.zeros((1, 16, 16, 3), np.uint8))

  def run(batch_size, devices):
    return make_evaluator(
        type="masked_patch", model=model,
        mesh=make_mesh(devices=jax.devices()[:devices]), image_size=(16, 16),
        source="digits", split="val[:50]", batch_size=batch_size,
        num_threads=2).run(params)

  first = run(16, 1)
  assert first["examples"] == 50 and set(first) == {
      "loss", "accuracy", "examples"}
  second = run(24, 2)
  assert first == pytest.approx(second, rel=1e-5)


def test_evaluator_wants_such_a_model(plain):
  with pytest.raises(UsageError, match="objective.name='masked_patch'"):
    make_evaluator(type="masked_patch", model=plain, mesh=make_mesh(),
                   image_size=(16, 16), source="digits", split="val")

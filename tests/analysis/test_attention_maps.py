"""Distances and rollouts equal what is computed by hand, whatever the grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.analysis import attention
from vit_jax.models.block import MultiHeadAttention


def weights(matrix, before=0):
  """Returns (1, 1, n, n) of a matrix over patches, class token in front."""
  n = len(matrix) + before
  full = np.full((n, n), 1 / n, np.float32)
  full[before:] = 0
  full[before:, before:] = matrix
  return full[None, None]


def test_distances_are_euclidean_on_the_grid_times_the_stride():
  far = attention.patch_distances((2, 3), (4, 10))
  assert far.shape == (6, 6)
  np.testing.assert_allclose(far, far.T)
  # Patches in raster order: 0 is at (0, 0), 2 at (0, 20), 5 at (4, 20).
  assert far[0, 2] == 20
  assert far[0, 3] == 4
  assert far[0, 5] == pytest.approx(np.hypot(4, 20))


def test_uniform_attention_on_a_square_of_four():
  far = attention.mean_distance(
      weights(np.full((4, 4), 0.25)), (2, 2), (16, 16))
  # Each looks at itself, two neighbours and the opposite corner alike.
  assert float(far[0, 0]) == pytest.approx(
      (0 + 16 + 16 + 16 * np.sqrt(2)) / 4)


def test_who_looks_at_itself_does_not_look_far():
  assert float(attention.mean_distance(
      weights(np.eye(6)), (2, 3), (16, 16))[0, 0]) == 0


def test_a_permutation_looks_as_far_as_it_moves():
  # In a row of three, the first two change places, the last stays.
  swap = np.eye(3)[[1, 0, 2]]
  far = attention.mean_distance(weights(swap), (1, 3), (4, 10))
  assert float(far[0, 0]) == pytest.approx((10 + 10 + 0) / 3)


def test_the_class_token_is_left_out_and_the_rest_renormalised():
  swap = np.eye(4)[[1, 0, 3, 2]]
  alone = attention.mean_distance(weights(swap), (2, 2), (16, 16))
  shared = weights(swap * 0.25, before=1)
  shared[..., 1:, 0] = 0.75
  np.testing.assert_allclose(shared.sum(-1), 1, rtol=1e-6)
  np.testing.assert_allclose(
      attention.mean_distance(shared, (2, 2), (16, 16)), alone, rtol=1e-6)
  shared[..., 1:, 0], shared[..., 1:, 1:] = 1, 0
  assert float(attention.mean_distance(shared, (2, 2), (16, 16))[0, 0]) == 0


def test_rollout_by_hand():
  uniform = np.full((1, 1, 2, 2), 0.5, np.float32)
  once = attention.rollout_step(jnp.eye(2)[None], uniform)
  # (1/2 + identity) / 2, and its square.
  np.testing.assert_allclose(once[0], [[0.75, 0.25], [0.25, 0.75]])
  np.testing.assert_allclose(
      attention.rollout_step(once, uniform)[0],
      [[0.625, 0.375], [0.375, 0.625]])
  np.testing.assert_allclose(
      attention.rollout_step(jnp.eye(3)[None], np.eye(3)[None, None])[0],
      np.eye(3))


def test_rollout_averages_heads_and_applies_later_layers_last():
  first, second = np.eye(3)[[1, 2, 0]], np.eye(3)[[0, 2, 1]]
  both = np.stack([first, second])[None].astype(np.float32)
  np.testing.assert_allclose(
      attention.rollout_step(jnp.eye(3)[None], both)[0],
      ((first + second) / 2 + np.eye(3)) / 2)
  joint = jnp.eye(3)[None]
  for matrix in (first, second):
    joint = attention.rollout_step(joint, matrix[None, None])
  one, two = ((m + np.eye(3)) / 2 for m in (first, second))
  assert np.abs(two @ one - one @ two).max() > 0.1
  np.testing.assert_allclose(joint[0], two @ one)


CASES = {
    "cls": ((8, 12), {}),
    "gap": ((12, 8), {"pooling": "gap", "depth": 1}),
    "map": ((8, 12), {"pooling": "map", "depth": 1}),
    "axial": ((8, 12), {"block": "axial", "pooling": "gap"}),
    "hybrid": ((20, 40), {"resnet": (1,), "resnet_width": 0.5,
                          "patch_size": (1, 1), "depth": 1}),
    "R+": ((32, 64), {"resnet": (), "resnet_width": 0.5, "depth": 1}),
}


@pytest.mark.parametrize("name", CASES)
def test_summaries_are_those_of_the_captured_weights(name, make, noise):
  size, settings = CASES[name]
  model, params = make(size, **settings)
  images = noise(size)
  found = attention.make_summarize(model, size)(params, images)
  logits, aux = jax.jit(lambda p, x: model.apply(
      {"params": p}, x, capture_attention=range(model.depth)))(params, images)
  np.testing.assert_allclose(found["logits"], logits, atol=1e-5)
  grid = model.grid(size)
  patches = grid[0] * grid[1]
  apart = attention.patch_distances(grid, attention.stride(model))
  joint = np.eye(aux["encoded"].shape[1])[None]
  for i in range(model.depth):
    every = np.asarray(aux[f"attention{i}"], np.float64)
    inside = every[..., -patches:, -patches:]
    inside = inside / inside.sum(-1, keepdims=True)
    expected = (inside * apart).sum(-1).mean(-1)
    assert expected.max() > 1
    np.testing.assert_allclose(
        found["distance"][:, i], expected, rtol=1e-4)
    mixed = every.mean(1) + np.eye(every.shape[-1])
    joint = mixed / mixed.sum(-1, keepdims=True) @ joint
  if model.pooling == "cls":
    seen = joint[:, 0]
  elif model.pooling == "gap":
    seen = joint.mean(1)
  else:
    head = params["MAPHead_0"]
    _, probe = MultiHeadAttention(model.block_config()).apply(
        {"params": head["MultiHeadDotProductAttention_0"]},
        np.tile(head["probe"], (2, 1, 1)), aux["encoded"], capture=True)
    seen = np.einsum("bhn,bnm->bm", probe[:, :, 0] / model.num_heads, joint)
    assert np.abs(seen - joint.mean(1)).max() > 1e-3
  np.testing.assert_allclose(
      found["rollout"].reshape(2, -1), seen[:, -patches:], rtol=1e-4)
  assert found["rollout"].shape == (2, *grid)


@pytest.mark.parametrize(("settings", "size", "expected"), [
    ({"patch_size": (4, 8)}, (8, 16), (4, 8)),
    ({"resnet": (1, 1), "resnet_width": 0.5, "patch_size": (1, 1)},
     (32, 32), (8, 8)),
    ({"resnet": (), "resnet_width": 0.5, "patch_size": (8, 8)},
     (64, 64), (32, 32)),
])
def test_stride_is_what_lies_between_two_patches(
    settings, size, expected, make):
  model, _ = make(size, **settings, depth=1)
  assert attention.stride(model) == expected
  assert model.grid(size) == tuple(
      side // step for side, step in zip(size, expected, strict=True))


def test_memory_does_not_grow_with_the_depth(make):
  size = (64, 64)  # 257 tokens, 0.5 MB of attention a layer

  def scratch(depth):
    model, params = make(size, depth=depth)
    return attention.make_summarize(model, size).lower(
        params, np.zeros((1, *size, 3), np.float32)
        ).compile().memory_analysis().temp_size_in_bytes

  # Three more layers, and less than two layers' attention more.
  assert scratch(5) - scratch(2) < 2 * 2 * 257**2 * 4


def test_one_byte_a_weight_is_close_enough():
  rng = np.random.default_rng(0)
  exact = rng.dirichlet(np.full(50, 0.1), (2, 3)).astype(np.float32)
  levels, largest = attention.quantise(jnp.asarray(exact))
  assert (levels.dtype, largest.shape) == (np.uint8, (2, 3))
  np.testing.assert_allclose(largest, exact.max(-1))
  again = attention.dequantise(np.asarray(levels), np.asarray(largest))
  error = np.abs(again - exact) / exact.max(-1, keepdims=True)
  assert 1e-4 < error.max() < 0.004
  # A hundredth of the largest is known to a few per cent.
  weak = (exact > 0.01 * exact.max(-1, keepdims=True))
  assert (np.abs(again - exact)[weak] / exact[weak]).max() < 0.05


def test_captured_weights_are_the_networks(make, noise):
  size = (8, 12)
  model, params = make(size)
  images = noise(size)
  (levels, largest), = attention.make_capture(model, [1])(params, images)
  _, aux = jax.jit(lambda p, x: model.apply(
      {"params": p}, x, capture_attention=(0, 1)))(params, images)
  again = attention.dequantise(np.asarray(levels), np.asarray(largest))
  assert np.abs(again - aux["attention0"]).max() > 0.1
  np.testing.assert_allclose(again, aux["attention1"], atol=0.004)


def test_the_mask_is_bright_where_the_rollout_is():
  seen = np.zeros((2, 4), np.float32)
  seen[0, 3] = 0.2
  mask = attention.rollout_mask(seen, (16, 16), (32, 64))
  assert mask.shape == (32, 64)
  assert (mask.min(), mask.max()) == (0, 1)
  row, column = np.unravel_index(mask.argmax(), mask.shape)
  assert row < 16
  assert column >= 48


@pytest.mark.parametrize("size", [(32, 64), (35, 70), (30, 60)])
def test_a_mask_covers_images_that_are_not_whole_patches(size):
  uniform = np.full((2, 4), 0.1, np.float32)
  mask = attention.rollout_mask(uniform, (16, 16), size)
  np.testing.assert_array_equal(mask, np.ones(size))

"""How alike layers are, and where their features belong: by the equations."""

import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.analysis import layers


def of(*features):
  return layers.Layers(
      tuple(f"block{i}" for i in range(len(features))), features)


def random(seed, n=64, rows=3, cols=3, width=8):
  return np.random.default_rng(seed).normal(
      size=(n, rows, cols, width)).astype(np.float32)


def rotation(width, seed=1):
  return np.linalg.qr(np.random.default_rng(seed).normal(
      size=(width, width)))[0].astype(np.float32)


def test_a_layer_is_like_itself_turned_and_scaled_and_moved():
  x = random(0)
  flat = x.reshape(64, -1)
  turned = (3 * flat @ rotation(flat.shape[1]) + 5).reshape(x.shape)
  [[same]] = layers.similarity(of(x), of(turned))
  assert same == pytest.approx(1, abs=1e-4)


def test_unrelated_layers_are_not_alike_however_wide():
  # The plain estimate is above 0.8 here: 64 pictures, 4,608 features.
  wide = [random(seed, width=512) for seed in (0, 1)]
  [[found]] = layers.similarity(of(wide[0]), of(wide[1]))
  assert abs(found) < 0.1


def test_it_is_half_the_way_where_half_is_shared():
  # HSIC of sums of independent parts adds up: 1 / (1 + 1) of the variance.
  shared, *own = (random(seed, width=256) for seed in range(3))
  both = [np.concatenate([shared, part], axis=-1) for part in own]
  [[found]] = layers.similarity(of(both[0]), of(both[1]))
  assert found == pytest.approx(0.5, abs=0.08)


def test_every_pair_of_layers_has_its_place():
  x, y, z = (random(seed) for seed in range(3))
  found = layers.similarity(of(x, y, z), of(y, x))
  assert found.shape == (3, 2)
  assert found[0, 1] == pytest.approx(1, abs=1e-4)
  assert found[1, 0] == pytest.approx(1, abs=1e-4)
  assert abs(found[2]).max() < 0.5


def test_other_pictures_are_not_compared():
  with pytest.raises(ValueError, match="different pictures"):
    layers.similarity(of(random(0)), of(random(0, n=32)))


def test_places_are_read_off_what_holds_them_and_guessed_elsewhere():
  with_place, without = random(0, n=200, width=12), random(1, n=200, width=12)
  with_place[..., :9] += 4 * np.eye(9, dtype=np.float32).reshape(3, 3, 9)
  (known, guessed), chance = layers.place_accuracies(of(with_place, without))
  assert known > 0.95
  assert guessed == pytest.approx(1 / 9, abs=0.08)
  assert chance == pytest.approx(1 / 9)


def test_of_a_large_map_some_places_are_kept():
  large = jnp.arange(2 * 50 * 5, dtype=jnp.float32).reshape(2, 50, 5, 1)
  kept = layers._spread(large)
  rows = [0, 7, 14, 21, 28, 35, 42, 49]
  np.testing.assert_array_equal(kept, large[:, rows])


def test_a_layer_that_does_not_change_has_no_like():
  constant = np.ones((16, 2, 2, 4), np.float32)
  [[found]] = layers.similarity(of(constant), of(random(0, n=16)))
  assert found == 0
  (accuracy,), _ = layers.place_accuracies(of(constant))
  assert accuracy <= 0.25

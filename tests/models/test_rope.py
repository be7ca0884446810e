"""Rotary position embeddings: queries and keys rotated by coordinates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.models.axial import group_by_axis, sequence_grid
from vit_jax.models.posemb import ROTARY, rotate_2d


def test_rotations_equal_complex_numbers():
  rows, cols, heads, width = 3, 4, 2, 16
  x = np.random.default_rng(0).normal(size=(2, 1 + rows * cols, heads, width))
  expected = x.copy()
  for i in range(rows):
    for j in range(cols):
      for half, coordinate in enumerate((i, j)):
        for t in range(width // 4):
          parts = 8 * half + t, 8 * half + 4 + t
          turn = np.exp(1j * coordinate * 100 ** (-4 * t / width))
          turned = turn * (x[:, 1 + cols * i + j, :, parts[0]]
                           + 1j * x[:, 1 + cols * i + j, :, parts[1]])
          expected[:, 1 + cols * i + j, :, parts[0]] = turned.real
          expected[:, 1 + cols * i + j, :, parts[1]] = turned.imag
  found = rotate_2d(jnp.float32(x), (rows, cols))
  other = rotate_2d(jnp.float32(x), (cols, rows))
  assert np.abs(other - expected).max() > 0.1
  np.testing.assert_allclose(found, expected, atol=1e-5)
  # The class token stays.
  np.testing.assert_array_equal(found[:, 0], np.float32(x[:, 0]))
  half = rotate_2d(jnp.bfloat16(x), (rows, cols))
  assert half.dtype == jnp.bfloat16
  np.testing.assert_allclose(
      np.float32(half), expected, atol=0.05)


def test_the_unit_square_as_dinov3():
  rows, cols, width = 3, 4, 16
  x = np.random.default_rng(0).normal(size=(2, 5 + rows * cols, 2, width))
  expected = x.copy()
  for i in range(rows):
    for j in range(cols):
      place = 5 + cols * i + j
      for axis, at in enumerate(((i + 0.5) / rows, (j + 0.5) / cols)):
        for t in range(width // 4):
          parts = 4 * axis + t, 8 + 4 * axis + t
          turn = np.exp(2j * np.pi * (2 * at - 1) * 100 ** (-4 * t / width))
          turned = turn * (x[:, place, :, parts[0]]
                           + 1j * x[:, place, :, parts[1]])
          expected[:, place, :, parts[0]] = turned.real
          expected[:, place, :, parts[1]] = turned.imag
  found = rotate_2d(jnp.float32(x), (rows, cols), "rope2d_unit")
  np.testing.assert_allclose(found, expected, atol=1e-5)
  np.testing.assert_array_equal(found[:, :5], np.float32(x[:, :5]))
  assert np.abs(rotate_2d(jnp.float32(x), (rows, cols)) - found).max() > 0.1


def test_products_of_rotated_vectors_depend_on_their_offset_only():
  rows, cols = 4, 5
  query, key = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)
  everywhere = [
      rotate_2d(jnp.tile(v, (1, rows * cols, 1, 1)), (rows, cols))[0, :, 0]
      for v in (query, key)]
  products = np.asarray(everywhere[0] @ everywhere[1].T).reshape(
      rows, cols, rows, cols)
  by_offset = {}
  for i, j, k, m in np.ndindex(products.shape):
    by_offset.setdefault((k - i, m - j), []).append(products[i, j, k, m])
  assert np.ptp([values[0] for values in by_offset.values()]) > 0.1
  for values in by_offset.values():
    assert np.ptp(values) < 1e-4
  np.testing.assert_allclose(by_offset[0, 0][0], query @ key, rtol=1e-4)


@pytest.mark.parametrize(("axis", "grid"), [
    ("rows", (1, 4)), ("columns", (3, 1))])
def test_along_an_axis_only_its_own_coordinate_counts(axis, grid):
  """As in axial blocks, whose sequences are single rows and columns."""
  assert sequence_grid(axis, (3, 4)) == grid
  rng = np.random.default_rng(0)
  query, key = (jnp.float32(rng.normal(size=(2, 12, 1, 8))) for _ in range(2))

  def products(query, key):
    return np.asarray(jnp.einsum("bqhk,bshk->bqs", query, key))

  def sequences(x):
    return group_by_axis(x[:, :, 0], axis, (3, 4))[:, :, None]

  expected = products(
      *(sequences(rotate_2d(x, (3, 4))) for x in (query, key)))
  found = products(*(rotate_2d(sequences(x), grid) for x in (query, key)))
  plain = products(sequences(query), sequences(key))
  assert np.abs(plain - expected).max() > 0.1
  np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ROTARY)
def test_a_model_with_rotations_takes_any_resolution(
    tiny, images, random_params, kind):
  model = tiny(depth=1, posemb=kind)
  params = random_params(model, images(16, 16))
  for sides in ((16, 16), (24, 8), (40, 32)):
    logits, _ = model.apply({"params": params}, jnp.asarray(images(*sides)))
    assert np.isfinite(logits).all()
  plain = tiny(depth=1, posemb="none")
  assert model.macs((24, 24)) == plain.macs((24, 24))
  assert jax.tree.structure(params) == jax.tree.structure(
      random_params(plain, images(16, 16)))

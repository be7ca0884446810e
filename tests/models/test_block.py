"""Axial blocks: row attention and MLP, then column attention and MLP (D.6)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.errors import UsageError
from vit_jax.models.axial import combined_weights, group_by_axis, ungroup


def run(model, params, pictures, **kwargs):
  return jax.jit(lambda p, x: model.apply({"params": p}, x, **kwargs))(
      params, pictures)


@pytest.fixture(scope="module")
def axial(tiny):
  return lambda **kwargs: tiny(
      **dict(block="axial", pooling="gap", depth=1) | kwargs)


@pytest.mark.parametrize("axis", [None, "rows", "columns"])
def test_ungroup_undoes_group_by_axis(axis):
  x = np.arange(2 * 6 * 4, dtype=np.float32).reshape(2, 6, 4)
  cut = group_by_axis(jnp.asarray(x), axis, (2, 3))
  assert cut.shape == {None: (2, 6, 4), "rows": (4, 3, 4),
                       "columns": (6, 2, 4)}[axis]
  np.testing.assert_array_equal(ungroup(cut, axis, (2, 3)), x)
  if axis == "columns":
    np.testing.assert_array_equal(cut[1], x[0, [1, 4]])
  if axis == "rows":
    np.testing.assert_array_equal(cut[1], x[0, 3:])


def test_a_block_is_two_blocks_under_names_of_their_own(axial, tiny, images):
  def shapes(model):
    return jax.eval_shape(model.init, jax.random.key(0), images())["params"][
        "Transformer"]["encoderblock_0"]

  whole = shapes(tiny(pooling="gap"))
  assert shapes(axial()) == {"rows": whole, "columns": whole}


def test_patches_see_their_row_first_and_then_all(axial, images,
                                                  random_params):
  """With the columns' attention cut off, only the row is seen."""
  pictures = images(16, 24, count=1)
  model = axial(posemb="none")
  params = random_params(model, pictures)
  block = params["Transformer"]["encoderblock_0"]
  closed = jax.tree.map(np.copy, block["columns"])
  closed["MultiHeadDotProductAttention_0"]["out"]["kernel"] *= 0
  touched = pictures.copy()
  touched[0, 8:, 8:16] = 255 - touched[0, 8:, 8:16]  # Patch (1, 1), number 4.
  for columns, moved in (
      (closed, [3, 4, 5]), (block["columns"], [0, 1, 2, 3, 4, 5])):
    changed = {**params, "Transformer": {
        **params["Transformer"],
        "encoderblock_0": {**block, "columns": columns}}}
    one, two = (run(model, changed, x)[1]["encoded"][0]
                for x in (pictures, touched))
    differs = np.abs(one - two).max(axis=-1) > 1e-5
    assert list(np.flatnonzero(differs)) == moved


def test_weights_of_both_axes_are_combined(axial, images, random_params):
  pictures = images(16, 24)
  model = axial()
  params = random_params(model, pictures)
  _, aux = run(model, params, pictures, capture_attention=(0,))
  assert aux["attention0"].shape == (2, 4, 6, 6)
  np.testing.assert_allclose(aux["attention0"].sum(-1), 1, atol=1e-5)
  assert np.abs(aux["attention0"].sum(-2) - 1).max() > 1e-3


def test_composition_equals_the_loops():
  rng = np.random.default_rng(0)
  by_rows = rng.dirichlet(np.ones(3), size=(2 * 2, 1, 3))
  by_columns = rng.dirichlet(np.ones(2), size=(2 * 3, 1, 2))
  out = combined_weights(jnp.asarray(by_rows), jnp.asarray(by_columns), (2, 3))
  assert out.shape == (2, 1, 6, 6)
  for y in range(2):
    for x in range(3):
      for z in range(2):
        for w in range(3):
          np.testing.assert_allclose(
              out[1, 0, 3 * y + x, 3 * z + w],
              by_columns[3 + x, 0, y, z] * by_rows[2 + z, 0, x, w], rtol=1e-5)


@pytest.mark.parametrize("posemb", ["1d", "relative"])
def test_scan_and_remat_leave_the_numbers(
    axial, images, random_params, stack, posemb):
  pictures = images(16, 24)
  options = dict(depth=2, posemb=posemb)
  params = random_params(axial(**options), pictures)
  expected, _ = run(axial(**options), params, pictures)
  stacked = stack(params)
  found, _ = run(axial(**options, scan=True, remat="dots"), stacked, pictures)
  stacked["Transformer"]["encoderblock"] = jax.tree.map(
      lambda a: a[::-1], stacked["Transformer"]["encoderblock"])
  other, _ = run(axial(**options, scan=True), stacked, pictures)
  assert np.abs(other - expected).max() > 1e-2
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_class_token_has_no_row_and_is_refused(axial):
  with pytest.raises(UsageError, match="use model.pooling='gap' or 'map'"):
    axial(pooling="cls")

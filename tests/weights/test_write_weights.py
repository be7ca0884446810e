"""Parameters written in Google's layouts come back bit for bit."""

import chex
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from vit_jax.errors import CheckpointError, UsageError
from vit_jax.weights import trees
from vit_jax.weights.convert import write_weights
from vit_jax.weights.formats import npz
from vit_jax.weights.names import google
from vit_jax.weights.posemb_grid import POSEMB


@pytest.fixture
def flat(small_model, random_flat):
  return random_flat(small_model(pre_logits=8, resnet=(1,), resnet_width=0.5,
                                 patch_size=(1, 1)))


@pytest.mark.parametrize("dialect", ["released", "linen", "big_vision"])
def test_what_is_written_loads_bit_for_bit(
    tmp_path, flat, assert_same, dialect):
  if dialect == "big_vision":
    # The layout has no row for the class token: only a row of zeros survives.
    flat[POSEMB][:, 0] = 0
  write_weights(tmp_path / "f.npz", trees.unflatten(flat), {}, dialect)
  got, layout = google.normalise(npz.read_npz(tmp_path / "f.npz"))
  assert layout.split()[0] == dialect
  assert_same(got, flat)
  changed = flat | {"head/bias": flat["head/bias"] + 1}
  with pytest.raises(AssertionError):
    assert_same(got, changed)


def test_big_vision_folds_the_position_of_the_class_token(tmp_path, flat):
  write_weights(tmp_path / "f.npz", flat, {}, "big_vision")
  got, _ = google.normalise(npz.read_npz(tmp_path / "f.npz"))
  row = flat[POSEMB][:, :1]
  assert np.abs(row).min() > 0
  np.testing.assert_array_equal(got["cls"], flat["cls"] + row)
  assert not got[POSEMB][:, 0].any()
  np.testing.assert_array_equal(
      got[POSEMB][:, 1:], flat[POSEMB][:, 1:])


@pytest.mark.parametrize("name", [
    "vit_i21k_layout", "hybrid_layout", "r_ti_layout", "gap_layout"])
def test_released_files_are_written_as_they_were(
    tmp_path, goldens, assert_same, name):
  original = npz.read_npz(goldens / f"{name}.npz")
  write_weights(tmp_path / "f.npz", google.normalise(original)[0], {})
  assert_same(dict(np.load(tmp_path / "f.npz")), original)


def test_device_arrays_and_stacked_blocks_are_written_alike(tmp_path, flat):
  device = jax.tree.map(jnp.asarray, trees.unflatten(flat))
  stacked = trees.unflatten(trees.stack_blocks(flat))
  transposed = {n: np.asfortranarray(a) for n, a in flat.items()}
  contents = set()
  for i, tree in enumerate((flat, device, stacked, transposed)):
    write_weights(tmp_path / f"{i}.npz", tree, {})
    contents.add((tmp_path / f"{i}.npz").read_bytes())
  assert len(contents) == 1


def test_half_precision_is_written_as_float32(tmp_path, flat):
  half = {n: a.astype(ml_dtypes.bfloat16) for n, a in flat.items()}
  write_weights(tmp_path / "f.npz", half, {})
  got, _ = google.normalise(npz.read_npz(tmp_path / "f.npz"))
  chex.assert_trees_all_equal(
      got, {n: a.astype(np.float32) for n, a in half.items()}, strict=True)


def test_nothing_non_finite_is_written(tmp_path, flat):
  flat["head/bias"][0] = np.nan
  with pytest.raises(CheckpointError, match="NaN or infinity in head/bias"):
    write_weights(tmp_path / "f.npz", flat, {})
  assert not list(tmp_path.iterdir())


def test_an_unknown_dialect_is_refused(tmp_path, flat):
  with pytest.raises(UsageError, match=r"did you mean 'released'"):
    write_weights(tmp_path / "f.npz", flat, {}, "relased")

"""Principal components and similarities are those computed by hand."""

import numpy as np
import pytest

from vit_jax.analysis import embeddings
from vit_jax.errors import UsageError
from vit_jax.models.posemb import sincos_2d


def test_components_of_filters_made_of_two():
  first, second = np.zeros((2, 2, 1)), np.zeros((2, 2, 1))
  first[0, 1] = first[1, 0] = 1 / np.sqrt(2)
  second[0, 0] = 1
  # Deviations 3 along the first and 1 along the second; a mean to take off.
  filters = np.stack(
      [7 + a * first + b * second for a in (-3, 3) for b in (-1, 1)], axis=-1)
  components, share = embeddings.filter_components(filters, count=2)
  np.testing.assert_allclose(components[0], first, atol=1e-6)
  np.testing.assert_allclose(components[1], second, atol=1e-6)
  np.testing.assert_allclose(share, [0.9, 0.1], atol=1e-6)


def test_components_are_orthonormal_and_their_largest_value_positive():
  filters = np.random.default_rng(0).normal(size=(4, 3, 3, 20))
  components, share = embeddings.filter_components(filters)
  # One less than there are filters: their mean is taken off.
  assert components.shape == (19, 4, 3, 3)
  flat = components.reshape(19, -1)
  np.testing.assert_allclose(flat @ flat.T, np.eye(19), atol=1e-5)
  assert all(np.diff(share) <= 0)
  assert share.sum() == pytest.approx(1)
  for component in flat:
    assert component[np.abs(component).argmax()] > 0
  same, _ = embeddings.filter_components(-filters)
  np.testing.assert_allclose(same, components, atol=1e-5)


def test_pixel_filters_of_a_vit_and_of_a_hybrid(make):
  model, params = make((8, 8), depth=1)
  np.testing.assert_array_equal(
      embeddings.pixel_filters(model, params), params["embedding"]["kernel"])
  model, params = make((16, 16), depth=1, resnet=(), resnet_width=0.5)
  filters = embeddings.pixel_filters(model, params)
  assert filters.shape == (7, 7, 3, 32)
  np.testing.assert_allclose(filters.mean((0, 1, 2)), 0, atol=1e-5)
  np.testing.assert_allclose(filters.std((0, 1, 2)), 1, atol=1e-3)


def test_similarity_by_hand():
  table = np.array([[[1, 0], [2, 0], [0, 3]],
                    [[-1, 0], [1, 1], [0, 0]]], np.float32)
  similar = embeddings.position_similarity(table)
  assert similar.shape == (2, 3, 2, 3)
  half = np.sqrt(0.5)
  np.testing.assert_allclose(
      similar[0, 0], [[1, 1, 0], [-1, half, 0]], atol=1e-6)
  np.testing.assert_array_equal(similar[1, 2], np.zeros((2, 3)))


def test_a_table_without_its_class_row(make):
  size = (8, 12)
  model, params = make(size, depth=1)
  tables = embeddings.position_tables(model, params, size)
  raw = params["Transformer"]["posembed_input"]["pos_embedding"]
  assert raw.shape == (1, 7, 16)
  np.testing.assert_array_equal(tables["stem"], raw[0, 1:].reshape(2, 3, 16))
  model, params = make(size, depth=1, pooling="gap")
  raw = params["Transformer"]["posembed_input"]["pos_embedding"]
  np.testing.assert_array_equal(
      embeddings.position_tables(model, params, size)["stem"],
      raw.reshape(2, 3, 16))


def test_a_2d_embedding_is_composed(make):
  size = (8, 12)
  model, params = make(size, depth=1, posemb="2d")
  table = embeddings.position_tables(model, params, size)["stem"]
  own = params["Transformer"]["posembed_input"]
  for row in range(2):
    for column in range(3):
      np.testing.assert_array_equal(table[row, column], np.concatenate([
          own["pos_embedding_x"][0, column], own["pos_embedding_y"][0, row]]))


def test_fixed_embeddings_need_no_parameters(make):
  size = (8, 12)
  model, params = make(size, depth=1, posemb="sincos2d")
  np.testing.assert_allclose(
      embeddings.position_tables(model, params, size)["stem"].reshape(6, 16),
      sincos_2d((2, 3), 16), atol=1e-6)


@pytest.mark.parametrize("block", ["global", "axial"])
def test_each_block_has_a_table_of_its_own(block, make):
  size = (8, 12)
  model, params = make(
      size, depth=3, posemb_at="layers", block=block, pooling="gap")
  tables = embeddings.position_tables(model, params, size)
  assert list(tables) == ["block 0", "block 1", "block 2"]
  own = params["Transformer"]["encoderblock_2"]
  own = own["rows"] if block == "axial" else own
  np.testing.assert_array_equal(
      tables["block 2"].reshape(6, 16),
      own["posembed_input"]["pos_embedding"][0])
  assert np.abs(tables["block 1"] - tables["block 2"]).max() > 1e-3


def test_a_shared_table_is_named_after_its_place(make):
  model, params = make((8, 8), depth=2, posemb_at="layers_shared")
  assert list(embeddings.position_tables(model, params, (8, 8))) == [
      "layers_shared"]


@pytest.mark.parametrize("kind", ["none", "relative"])
def test_what_has_no_table_is_refused_by_name(kind, make):
  model, params = make((8, 8), depth=1, posemb=kind)
  with pytest.raises(UsageError, match=f"model.posemb='{kind}' has no"):
    embeddings.position_tables(model, params, (8, 8))

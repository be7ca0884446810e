"""Shapes that would broadcast or reshape silently are refused when traced.

The functions are called without the tests' own checks of signatures, as users
call them.
"""

import inspect
import types

import jax
import jax.numpy as jnp
import pytest

from vit_jax.errors import UsageError
from vit_jax.models import attention, axial, inputs, masked_vit, posemb
from vit_jax.objectives import classification


def unchecked(function, *args, **kwargs):
  return inspect.unwrap(function)(*args, **kwargs)


def zeros(*shape, dtype=jnp.float32):
  return jnp.zeros(shape, dtype)


def test_the_right_shapes_pass():
  query, key = zeros(2, 3, 4, 8), zeros(2, 5, 4, 8)
  assert unchecked(attention.attend, query, key, key).shape == query.shape
  weights = unchecked(attention.attention_weights, query, key,
                      bias=zeros(2, 4, 3, 5))
  assert weights.shape == (2, 4, 3, 5)
  tokens, table = zeros(2, 5, 8), zeros(1, 5, 8)
  assert unchecked(posemb.add_positions, tokens, table).shape == tokens.shape


@pytest.mark.parametrize("key", [
    (2, 5, 4, 1), (2, 5, 1, 8), (1, 5, 4, 8), (2, 5, 8)])
def test_keys_of_other_batches_heads_or_widths(key):
  query = zeros(2, 3, 4, 8)
  with pytest.raises(AssertionError):
    unchecked(attention.attend, query, zeros(*key), zeros(*key))
  with pytest.raises(AssertionError):
    unchecked(attention.attention_weights, query, zeros(*key))


def test_values_of_other_tokens_and_biases_that_would_broadcast():
  query, key = zeros(2, 3, 4, 8), zeros(2, 5, 4, 8)
  with pytest.raises(AssertionError):
    unchecked(attention.attend, query, key, zeros(2, 1, 4, 8))
  with pytest.raises(AssertionError):
    unchecked(attention.attention_weights, query, key, bias=zeros(1, 4, 3, 5))


@pytest.mark.parametrize("table", [(1, 1, 8), (2, 5, 8), (1, 5, 1), (5, 8)])
def test_tables_of_positions_that_would_broadcast(table):
  with pytest.raises(AssertionError):
    unchecked(posemb.add_positions, zeros(2, 5, 8), zeros(*table))


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_patches_of_another_grid(axis):
  with pytest.raises(AssertionError):
    # 24 tokens of 2 grids of 3x4, as if of one image.
    unchecked(axial.group_by_axis, zeros(1, 24, 8), axis, (3, 4))
  grouped = unchecked(axial.group_by_axis, zeros(2, 12, 8), axis, (3, 4))
  with pytest.raises(AssertionError):
    unchecked(axial.ungroup, grouped, axis, (4, 3))
  assert unchecked(axial.ungroup, grouped, axis, (3, 4)).shape == (2, 12, 8)
  with pytest.raises(AssertionError):
    unchecked(axial.combined_weights, zeros(6, 1, 4, 4), zeros(8, 1, 3, 3),
              (4, 3))


@pytest.mark.parametrize("shape", [(8, 8, 3), (0, 8, 8, 3)])
def test_one_image_or_none_is_not_a_batch(shape):
  with pytest.raises(UsageError, match="a batch"):
    unchecked(inputs.to_floats, zeros(*shape), jnp.float32)
  with pytest.raises(UsageError, match="of type list; expected an array"):
    unchecked(inputs.to_floats, [[1.0]], jnp.float32)


def test_corruptions_of_another_number_of_patches():
  # Not a Corruption, whose fields the tests' own checks would compare.
  corruption = types.SimpleNamespace(
      action=zeros(2, 4, dtype=int), other=zeros(2, 1, dtype=int))
  with pytest.raises(AssertionError):
    unchecked(masked_vit.corrupt, zeros(2, 4, 8), zeros(1, 1, 8), corruption)


@pytest.mark.parametrize("labels", [
    zeros(4, 1), zeros(4, 2), zeros(4), zeros(4, 3, 1)],
    ids=lambda labels: str(labels.shape))
def test_labels_that_are_neither_classes_nor_distributions(labels):
  smooth = classification.smooth_labels
  assert unchecked(smooth, zeros(4, dtype=jnp.int32), 3).shape == (4, 3)
  with pytest.raises(AssertionError):
    unchecked(smooth, labels, 3)


def test_batches_whose_arrays_differ_in_length():
  model = types.SimpleNamespace(num_classes=3)
  batch = {"image": zeros(4, 8, 8, 3), "label": zeros(3, dtype=jnp.int32)}
  with pytest.raises(AssertionError):
    unchecked(classification.make_loss(model, mixup=0.2), {}, batch,
              jax.random.key(0))

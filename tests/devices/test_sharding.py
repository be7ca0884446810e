"""The borders at which host arrays become global, sharded arrays."""

from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

from vit_jax.devices.sharding import make_mesh, put_batch, put_tree


def test_a_batch_is_split_over_data_and_fsdp():
  mesh = make_mesh(fsdp=2, tensor=2)
  batch = {"image": np.arange(8 * 3).reshape(8, 3), "label": np.arange(8)}
  placed = put_batch(batch, mesh, 8)
  for key, value in batch.items():
    np.testing.assert_array_equal(placed[key], value)
    assert placed[key].sharding.spec == PartitionSpec(("data", "fsdp"))
    assert {s.data.shape[0] for s in placed[key].addressable_shards} == {2}


@pytest.mark.parametrize("rows", [7, 9, 16])
def test_a_batch_of_other_rows_than_the_process_has_is_refused(rows):
  batch = {"image": np.zeros((rows, 4, 4, 3), np.uint8)}
  with pytest.raises(AssertionError, match="equal to '8' on axis '0'"):
    put_batch(batch, make_mesh(), 8)


def test_a_tree_is_placed_leaf_by_leaf():
  mesh = make_mesh(fsdp=4)
  tree = {"kernel": np.arange(32.0).reshape(8, 4), "scale": np.float32(3)}
  shardings = {"kernel": NamedSharding(mesh, PartitionSpec("fsdp")),
               "scale": NamedSharding(mesh, PartitionSpec())}
  placed = put_tree(tree, shardings)
  np.testing.assert_array_equal(placed["kernel"], tree["kernel"])
  assert {s.data.shape for s in placed["kernel"].addressable_shards} == {(2, 4)}
  assert placed["scale"].shape == () and placed["scale"] == 3


def test_trees_of_another_structure_are_refused():
  whole = NamedSharding(make_mesh(), PartitionSpec())
  with pytest.raises(AssertionError, match="tree"):
    put_tree({"kernel": np.zeros(3), "bias": np.zeros(3)}, {"kernel": whole})


def test_an_array_without_the_dimension_that_is_split_is_refused():
  split = NamedSharding(make_mesh(), PartitionSpec(None, "data"))
  with pytest.raises(AssertionError, match="tensor rank is '1'"):
    put_tree({"bias": np.zeros(8)}, {"bias": split})

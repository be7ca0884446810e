import numpy as np

from vit_jax.weights import trees


def test_flatten_and_unflatten_are_inverse():
  tree = {"a": {"b": {"c": 1}, "d": 2}, "e": 3}
  flat = trees.flatten(tree)
  assert flat == {"a/b/c": 1, "a/d": 2, "e": 3}
  assert trees.unflatten(flat) == tree


def test_stacked_blocks_are_in_the_order_of_their_numbers():
  flat = {f"Transformer/encoderblock_{i}/x": np.array([i]) for i in range(11)}
  flat["cls"] = np.zeros(1)
  stacked = trees.stack_blocks(dict(reversed(flat.items())))
  assert stacked.keys() == {"cls", "Transformer/encoderblock/x"}
  np.testing.assert_array_equal(
      stacked["Transformer/encoderblock/x"][:, 0], np.arange(11))
  single = trees.unstack_blocks(stacked)
  assert single.keys() == flat.keys()
  assert single["Transformer/encoderblock_10/x"] == [10]

"""Small parameters without zeros, and the names of the golden files."""

import numpy as np
import pytest

from vit_jax.models.vit import VisionTransformer
from vit_jax.weights import adapt

SMALL = dict(num_classes=5, patch_size=(4, 4), width=48, depth=2, mlp_dim=64,
             num_heads=4)


@pytest.fixture(scope="session")
def small_model():
  """Returns a factory of small models: keyword arguments replace SMALL's."""
  return lambda **kwargs: VisionTransformer(**(SMALL | kwargs))


@pytest.fixture(scope="session")
def random_flat():
  """Returns a factory of random flat parameters of a model."""

  def make(model, image_size=(8, 8), seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(0, 0.2, shape).astype(np.float32)
        for name, shape in adapt.expected_shapes(model, image_size).items()}

  return make


@pytest.fixture
def assert_same():
  """Returns a check that two flat dictionaries are equal bit for bit."""

  def check(left, right):
    assert left.keys() == right.keys()
    for name, array in left.items():
      np.testing.assert_array_equal(array, right[name], err_msg=name)
      assert array.dtype == right[name].dtype, name

  return check

"""Small parameters without zeros, and how they are compared and written."""

import chex
import numpy as np
import pytest

from vit_jax.models.vit import VisionTransformer
from vit_jax.weights import adapt, trees
from vit_jax.weights.formats import npz
from vit_jax.weights.names import google

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


@pytest.fixture(scope="session")
def describe():
  """Returns a function: the description that goes with a model in a file."""

  def make(model, image_size, **more):
    return {"architecture": model.architecture(),
            "image_size": list(image_size)} | more

  return make


@pytest.fixture(scope="session")
def assert_same():
  """Returns a check that two trees are equal, values and dtypes."""

  def check(left, right):
    chex.assert_trees_all_equal(dict(left), dict(right), strict=True)

  return check


@pytest.fixture(scope="session")
def save_npz():
  """Returns a function that writes parameters alone, without description."""

  def save(path, params, layout="released"):
    flat = {name: np.asarray(array)
            for name, array in trees.flatten(params).items()}
    npz.write_npz(path, google.encode(trees.unstack_blocks(flat), layout))
    return path

  return save

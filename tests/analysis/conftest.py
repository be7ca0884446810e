"""Tiny networks whose attention differs from token to token."""

import jax
import numpy as np
import pytest

from vit_jax.models.vit import VisionTransformer


@pytest.fixture(scope="session")
def make():
  """Returns (model, params) of a tiny network; settings as the model's."""

  def build(image_size, **settings):
    model = VisionTransformer(**(dict(
        num_classes=3, patch_size=(4, 4), width=16, depth=2, mlp_dim=16,
        num_heads=2) | settings))
    shapes = jax.eval_shape(
        model.init, jax.random.key(0),
        np.zeros((1, *image_size, 3), np.float32))["params"]
    rng = np.random.default_rng(0)

    def fill(path, leaf):
      names = [part.key for part in path]
      if names[-1] == "scale":
        return np.ones(leaf.shape, np.float32)
      # Queries and keys so large that attention is far from uniform.
      size = 1 if {"query", "key", "head"} & set(names) else 0.2
      return (size * rng.normal(size=leaf.shape)).astype(np.float32)

    params = jax.tree_util.tree_map_with_path(fill, shapes)
    return model, params

  return build


@pytest.fixture
def noise():
  """Returns images of noise of a size, in [-1, 1]."""

  def build(image_size, count=2):
    return np.random.default_rng(1).uniform(
        -1, 1, (count, *image_size, 3)).astype(np.float32)

  return build

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
    params = jax.tree.map(np.array, jax.jit(model.init)(
        jax.random.key(0), np.zeros((1, *image_size, 3), np.float32))["params"])
    rng = np.random.default_rng(0)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
      if any(part.key in ("query", "key", "head") for part in path):
        leaf[...] = rng.normal(size=leaf.shape)
    return model, params

  return build


@pytest.fixture
def pictures():
  """Returns noise of a size, in [-1, 1]."""

  def build(image_size, count=2):
    return np.random.default_rng(1).uniform(
        -1, 1, (count, *image_size, 3)).astype(np.float32)

  return build

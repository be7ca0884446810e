"""A tiny model and its parameters, as factories."""

import jax
import numpy as np
import pytest

from vit_jax.models.vit import VisionTransformer

TINY = dict(num_classes=5, patch_size=(8, 8), width=32, depth=3, mlp_dim=64,
            num_heads=4)


@pytest.fixture(scope="session")
def tiny():
  """Returns a factory of tiny models: keyword arguments replace TINY's."""
  return lambda **kwargs: VisionTransformer(**(TINY | kwargs))


@pytest.fixture(scope="session")
def images():
  """Returns a factory of uint8 pictures."""

  def make(height=24, width=24, count=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)

  return make


@pytest.fixture(scope="session")
def random_params():
  """Returns a factory of parameters without zeros: every path carries."""

  def make(model, pictures, seed=0):
    shapes = jax.eval_shape(model.init, jax.random.key(0), pictures)["params"]
    leaves, tree = jax.tree.flatten(shapes)
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(tree, [
        rng.normal(0, 0.2, leaf.shape).astype(np.float32)
        for leaf in leaves])

  return make


@pytest.fixture(scope="session")
def stack():
  """Returns a function: unrolled parameters to those of `scan=True`."""

  def make(params):
    inside = dict(params["Transformer"])
    names = sorted((n for n in inside if n.startswith("encoderblock_")),
                   key=lambda n: int(n.rsplit("_")[-1]))
    blocks = [inside.pop(name) for name in names]
    inside["encoderblock"] = jax.tree.map(lambda *x: np.stack(x), *blocks)
    return {**params, "Transformer": inside}

  return make

"""The patch embedding is a convolution whose stride is its kernel."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.errors import UsageError
from vit_jax.models.patches import PatchEmbedding


def both(patch, dtype=jnp.float32):
  convolution = nn.Conv(8, patch, strides=patch, padding="VALID", dtype=dtype)
  return convolution, PatchEmbedding(8, patch, dtype=dtype)


@pytest.mark.parametrize(
    ("patch", "size", "channels"),
    [((4, 4), (12, 8), 3), ((2, 3), (6, 6), 3), ((1, 1), (3, 5), 16),
     ((4, 4), (14, 11), 3)])
def test_equals_the_convolution(patch, size, channels):
  images = jax.random.normal(jax.random.key(1), (2, *size, channels))
  convolution, ours = both(patch)
  wanted = convolution.init(jax.random.key(0), images)["params"]
  params = ours.init(jax.random.key(0), images)["params"]
  # The same parameters from the same key, so old runs begin as before.
  for name in ("kernel", "bias"):
    np.testing.assert_array_equal(params[name], wanted[name])
  params = params | {"bias": jnp.arange(8.0)}
  expected = convolution.apply({"params": params}, images)
  tokens = ours.apply({"params": params}, images)
  np.testing.assert_allclose(
      tokens, expected.reshape(tokens.shape), atol=1e-5)
  moved = ours.apply({"params": params}, jnp.roll(images, 1, axis=2))
  assert np.abs(moved - tokens).max() > 1e-2


def test_gradients_equal_those_of_the_convolution():
  images = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
  convolution, ours = both((4, 4))
  params = ours.init(jax.random.key(0), images)["params"]

  def loss(module, params, images):
    return jnp.sum(jnp.sin(module.apply({"params": params}, images)))

  for argument in (1, 2):
    wanted = jax.grad(loss, argument)(convolution, params, images)
    found = jax.grad(loss, argument)(ours, params, images)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
                 found, wanted)


def test_a_picture_smaller_than_a_patch():
  with pytest.raises(UsageError, match="3x9 hold no patch of 4x4"):
    both((4, 4))[1].init(jax.random.key(0), jnp.zeros((1, 3, 9, 3)))

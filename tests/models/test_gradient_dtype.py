"""Kernels' gradients in float32: the same numbers, without the rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.errors import UsageError
from vit_jax.models.block import BlockConfig, EncoderBlock


def gradients(dtype, grad_dtype):
  """Returns the outputs of a block, and its gradients by name."""
  block = EncoderBlock(config=BlockConfig(
      mlp_dim=24, num_heads=2, dtype=dtype, grad_dtype=grad_dtype), grid=(1, 5))
  x = jax.random.normal(jax.random.key(1), (64, 5, 16))
  params = block.init(
      jax.random.key(0), x, None, 0.0, False, False)["params"]

  def loss(params):
    out = block.apply({"params": params}, x, None, 0.0, False, False)[0]
    return jnp.mean(jnp.sin(3 * out.astype(jnp.float32))), out

  grads, out = jax.jit(jax.grad(loss, has_aux=True))(params)
  flat, _ = jax.tree_util.tree_flatten_with_path(grads)
  return out, {jax.tree_util.keystr(k): np.asarray(v) for k, v in flat}


def is_bfloat16(x):
  rounded = jnp.asarray(x).astype(jnp.bfloat16)
  return (x == np.asarray(rounded, np.float32)).all()


def test_in_float32_nothing_changes():
  out, usual = gradients(jnp.float32, "compute")
  same, wide = gradients(jnp.float32, "float32")
  np.testing.assert_array_equal(out, same)
  assert usual.keys() == wide.keys()
  for name, value in usual.items():
    np.testing.assert_allclose(wide[name], value, atol=1e-6, err_msg=name)


def test_in_bfloat16_the_kernels_gradients_are_not_rounded():
  out, usual = gradients(jnp.bfloat16, "compute")
  same, wide = gradients(jnp.bfloat16, "float32")
  np.testing.assert_array_equal(out, same)
  kernels = [name for name in usual if "kernel" in name]
  assert len(kernels) == 6
  for name in kernels:
    assert is_bfloat16(usual[name]) and not is_bfloat16(wide[name]), name
    assert wide[name].dtype == np.float32
    scale = np.abs(usual[name]).max()
    np.testing.assert_allclose(
        wide[name], usual[name], atol=scale / 64, err_msg=name)


def test_another_dtype_is_refused():
  with pytest.raises(UsageError, match="grad_dtype"):
    gradients(jnp.float32, "bfloat16")

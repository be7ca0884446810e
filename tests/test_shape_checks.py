"""While the tests run, signatures with array shapes in them are enforced."""

import os

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, TypeCheckError, jaxtyped
import numpy as np
import pytest
import shape_checks

from vit_jax.data.image_ops import resize
from vit_jax.models import attention
from vit_jax.models.variants import make_model

pytestmark = pytest.mark.skipif(
    os.environ.get(shape_checks.SWITCH) == "0", reason="switched off")


def test_a_wrong_rank_is_refused():
  with pytest.raises(TypeCheckError, match="parameters of .*scaled"):
    attention.scaled(jnp.ones((2, 3, 4)))


def test_a_wrong_dtype_is_refused():
  with pytest.raises(TypeCheckError, match="parameter 'query'"):
    attention.scaled(jnp.ones((2, 3, 4, 5), jnp.int32))


def test_axes_of_one_name_are_of_one_size():
  query, key = jnp.ones((2, 3, 1, 4)), jnp.ones((2, 5, 1, 6))
  with pytest.raises(TypeCheckError, match="parameter 'key'"):
    attention.attention_weights(query, key)


def test_networks_are_checked_while_they_are_traced():
  model = make_model("Ti/16", num_classes=2, width=8, depth=1, mlp_dim=8,
                     num_heads=1)
  with pytest.raises(TypeCheckError, match="VisionTransformer.__call__"):
    jax.eval_shape(model.init, jax.random.key(0), jnp.ones((16, 16, 3)))


def test_numpy_is_checked_too():
  with pytest.raises(TypeCheckError, match="image_ops.resize"):
    resize(np.ones((8, 8), np.uint8), (4, 4))


def test_results_are_checked():
  @jaxtyped(typechecker=shape_checks.check_arrays)
  def mean(x: Float[Array, "b n d"]) -> Float[Array, "b d"]:
    return x.mean(axis=-1)

  assert mean(jnp.ones((2, 3, 3))).shape == (2, 3)
  with pytest.raises(TypeCheckError, match="the return value"):
    mean(jnp.ones((2, 3, 4)))


def test_only_arrays_are_checked():
  @jaxtyped(typechecker=shape_checks.check_arrays)
  def scale(x: Float[Array, " n"] | None, factor: int) -> Array | None:
    return None if x is None else factor * x

  scale(None, 1.5)
  scale(np.ones(2, np.float32), 1.5)
  with pytest.raises(TypeCheckError):
    scale(np.ones((2, 2), np.float32), 2)

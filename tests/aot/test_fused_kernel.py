"""The attention kernel is compiled for TPUs, and its cost is counted."""

import pytest

from vit_jax.aot.operations import operations


def compiled(name, shape):
  """Returns the program of output and gradients, on one device of a slice."""
  import jax
  import jax.numpy as jnp
  from jax.sharding import SingleDeviceSharding

  from vit_jax.aot import topologies
  from vit_jax.models.fused_attention import fused_attend

  topology = topologies.parse(name)
  device = topologies.devices(topology)[0]
  x = jax.ShapeDtypeStruct(
      shape, jnp.bfloat16, sharding=SingleDeviceSharding(device))
  vector = (jnp.bfloat16 if topology.generation.bfloat16_vectors
            else jnp.float32)

  def both(query, key, value, gradient):
    out, backward = jax.vjp(
        lambda *x: fused_attend(*x, vector), query, key, value)
    return out, backward(gradient)

  return jax.jit(both).lower(x, x, x, x).compile().as_text()


@pytest.mark.tpu_compiler
@pytest.mark.parametrize(("name", "shape"), [
    ("v5e-1", (4, 197, 12, 64)),
    *(pytest.param(name, (4, 577, 12, 64), marks=pytest.mark.slow)
      for name in ("v4-8", "v5p-8", "v6e-1", "7x-8")),
    *(pytest.param(name, shape, marks=pytest.mark.thorough)
      for name in ("v4-8", "v5e-1", "v5p-8", "v6e-1", "7x-8")
      for shape in ((2, 256, 16, 72), (2, 1370, 12, 64), (2, 1025, 16, 64))),
    *(pytest.param("v5e-1", shape, marks=pytest.mark.thorough)
      for shape in ((4, 577, 12, 64), (4, 65, 6, 64), (2, 257, 16, 80),
                    (4, 197, 3, 64)))])
def test_it_compiles_and_its_products_are_counted(libtpu, name, shape):
  batch, tokens, heads, dim = shape
  kernels = [x for x in operations(compiled(name, shape)) if x.flops]
  # Two products forward; backward forms the scores again, and four more.
  assert sorted(x.flops for x in kernels) == [
      2 * n * batch * heads * tokens**2 * dim for n in (2, 5)]

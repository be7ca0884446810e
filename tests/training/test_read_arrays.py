"""Arrays of the first replica reach the others, bit for bit."""

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
import numpy as np
import orbax.checkpoint as ocp
import pytest

from vit_jax.devices.sharding import make_mesh
from vit_jax.training import read_arrays

SPECS = {"kernel": P("fsdp", "tensor"), "scale": P(), "step": P(),
         "half": P(None, "fsdp"), "flags": P("tensor"), "key": P()}


def values():
  rng = np.random.default_rng(0)
  kernel = rng.standard_normal((8, 6)).astype(np.float32)
  kernel[0, :4] = -0.0, np.inf, np.nan, -np.nan
  kernel.view(np.uint32)[1, 1] = 0x7FC0BEEF  # a NaN with bits of its own
  return {"kernel": kernel, "scale": rng.random(3).astype(np.float32),
          "step": np.int32(-7), "half": np.asarray(
              jnp.asarray(kernel[:, :4], jnp.bfloat16)),
          "flags": np.array([True, False, True, True]),
          "key": np.array([2**32 - 1, 5], np.uint32)}


@pytest.mark.parametrize("sizes", [
    dict(data=8), dict(data=4, fsdp=2), dict(data=2, fsdp=2, tensor=2)])
@pytest.mark.parametrize("limit", [1, 1 << 20])
def test_every_replica_gets_every_bit(sizes, limit, monkeypatch):
  monkeypatch.setattr(read_arrays, "_BYTES", limit)
  mesh = make_mesh(**sizes)
  first = Mesh(mesh.devices[:1], mesh.axis_names)
  wanted = values()
  abstract = {name: jax.ShapeDtypeStruct(
      x.shape, x.dtype, sharding=NamedSharding(mesh, SPECS[name]))
      for name, x in wanted.items()} | {"left out": ocp.PLACEHOLDER}
  found = {name: jax.device_put(x, NamedSharding(first, SPECS[name]))
           for name, x in wanted.items()} | {"left out": ocp.PLACEHOLDER}
  copies = read_arrays.spread(found, abstract, mesh)
  assert copies.pop("left out") is ocp.PLACEHOLDER
  assert copies.keys() == wanted.keys()
  for name, copy in copies.items():
    assert copy.sharding.is_equivalent_to(
        abstract[name].sharding, copy.ndim), name
    assert copy.dtype == wanted[name].dtype
    for shard in copy.addressable_shards:
      assert np.asarray(shard.data).tobytes() == np.asarray(
          wanted[name][shard.index]).tobytes(), (name, shard.device)

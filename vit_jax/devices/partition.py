"""What a function that is being traced says to XLA about the mesh.

`over` names the mesh; the models inside ask for it here, and need no argument
for it.
"""

from collections.abc import Callable
import contextvars
import functools
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from vit_jax.devices.sharding import BATCH

# The mesh over which the function being traced splits its batch.
_MESH: contextvars.ContextVar[Mesh | None] = contextvars.ContextVar(
    "mesh", default=None)


def over(mesh: Mesh | None, function: Callable[..., Any]) -> Callable[..., Any]:
  """Wraps a function to be jitted: `split_batch` inside it uses `mesh`."""

  @functools.wraps(function)
  def inside(*args: Any) -> Any:
    token = _MESH.set(mesh)
    try:
      return function(*args)
    finally:
      _MESH.reset(token)

  return inside


def split_batch(x: jax.Array, *, only: bool = True) -> jax.Array:
  """Constrains activations to be sharded along the batch axis only.

  Where parameters are split over fsdp, XLA may otherwise move activations
  instead of parameters: it splits D, computes every example on every device
  and sums the results. With this constraint between layers it gathers the
  parameters, one layer at a time. Outside of `over` it does nothing.

  Args:
    x: activations; the first axis is the batch.
    only: False leaves the sharding of the other axes to XLA.
  """
  mesh = _MESH.get()
  if mesh is None or mesh.size == 1:
    return x
  rest = () if only else (PartitionSpec.UNCONSTRAINED,) * (x.ndim - 1)
  return jax.lax.with_sharding_constraint(
      x, NamedSharding(mesh, PartitionSpec(*BATCH, *rest)))


def target() -> Any:
  """Returns a device like those that the function being traced will run on.

  Inside `over` one of the mesh, which may only be described; else the default.
  """
  mesh = _MESH.get()
  return (jax.devices()[0] if mesh is None else mesh.devices.flat[0])


def by_heads(
    function: Callable[..., jax.Array], *arrays: Float[Array, "b n h k"]
) -> jax.Array:
  """Applies a function of whole heads on each device to the part it holds.

  For kernels, which XLA cannot split: the batch lies over data and fsdp, the
  heads over tensor where it divides them. Outside of `over`, and on one
  device, it is a plain call.

  Args:
    function: (b n h k) each -> (b n h k); images and heads are independent.
    arrays: its arguments.
  """
  mesh = _MESH.get()
  images, _, heads, _ = arrays[0].shape
  # Networks are initialised with one image, which is not split.
  if mesh is None or mesh.size == 1 or images % (
      mesh.shape["data"] * mesh.shape["fsdp"]):
    return function(*arrays)
  spec = PartitionSpec(
      *BATCH, None, "tensor" if heads % mesh.shape["tensor"] == 0 else None)
  return jax.shard_map(
      function, mesh=mesh, in_specs=(spec,) * len(arrays), out_specs=spec,
      check_vma=False)(*arrays)

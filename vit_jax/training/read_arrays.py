"""Reads the arrays of a checkpoint once a job, not once a host.

Every replica of the parameters holds the same. The processes of the first one
read them, and the others get them over the network between the devices, which
at a thousand hosts is faster than a thousand readings of a bucket, and free of
charge. Orbax's SingleReplicaArrayHandler does so for replicas that consist of
whole processes, not where one host holds several.
"""

from collections.abc import Callable, Iterator
import functools
import math
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np
import orbax.checkpoint as ocp

from vit_jax.devices.distributed import any_process
from vit_jax.errors import CheckpointError

# Of arrays that are sent together, in one replica.
_BYTES = 256 << 20


def read_arrays(folder: epath.Path, abstract: Any, *, partial: bool = False
                ) -> Any:  # noqa: ANN401
  """Reads arrays; every process of a job must call this.

  Args:
    folder: of the arrays: STEP/state.
    abstract: a tree of shapes, dtypes and shardings; `ocp.PLACEHOLDER` for
      arrays that are not wanted.
    partial: whether the checkpoint may hold other arrays besides.

  Returns:
    The tree with the arrays, and the placeholders that it had.

  Raises:
    CheckpointError: another process cannot read them. Where this one cannot,
      almost any error.
  """
  if jax.process_count() == 1:
    return _read(folder, abstract, partial, None)
  mesh, readers, wanted = _mesh(abstract), None, abstract
  if mesh is not None:
    readers = {device.process_index for device in mesh.devices[0].flat}
    if len(readers) == jax.process_count():
      readers = None  # Every process has a part of its own.
    else:
      first = Mesh(mesh.devices[:1], mesh.axis_names)
      wanted = jax.tree.map(functools.partial(_onto, first), abstract)
  found, error = wanted, None
  if readers is None or jax.process_index() in readers:
    try:
      found = _read(folder, wanted, partial, readers)
    except Exception as caught:  # Storage and damage show as any error.
      error = caught
  # Else the others would wait for this one in what they do next.
  if any_process(error is not None):
    raise error or CheckpointError("another process cannot read it")
  return found if mesh is None or readers is None else spread(
      found, abstract, mesh)


def _mesh(abstract: Any) -> Mesh | None:
  """Returns the mesh of replicas that arrays are sharded over, or None."""
  meshes = {leaf.sharding.mesh for leaf in jax.tree.leaves(abstract)
            if isinstance(getattr(leaf, "sharding", None), NamedSharding)}
  mesh = meshes.pop() if len(meshes) == 1 else None
  return mesh if isinstance(mesh, Mesh) else None


def _onto(mesh: Mesh, leaf: Any) -> Any:
  """Returns an array's description with its sharding on another mesh."""
  if leaf is ocp.PLACEHOLDER:
    return leaf
  return jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype,
      sharding=NamedSharding(mesh, leaf.sharding.spec))


def _read(
    folder: epath.Path, abstract: Any, partial: bool, readers: set[int] | None
) -> Any:
  """Reads arrays in all processes, or only in `readers`."""
  options = ocp.options.MultiprocessingOptions() if readers is None else (
      ocp.options.MultiprocessingOptions(
          primary_host=min(readers), active_processes=readers,
          barrier_sync_key_prefix="first_replica"))
  with ocp.Checkpointer(
      ocp.PyTreeCheckpointHandler(multiprocessing_options=options),
      multiprocessing_options=options) as checkpointer:
    return checkpointer.restore(folder, args=ocp.args.PyTreeRestore(
        item=abstract, partial_restore=partial,
        restore_args=jax.tree.map(_restore_args, abstract)))


def _restore_args(leaf: Any) -> ocp.RestoreArgs:
  """Returns how an array is restored; nothing for one that is left out."""
  if leaf is ocp.PLACEHOLDER:
    return ocp.RestoreArgs()
  return ocp.ArrayRestoreArgs(sharding=leaf.sharding, dtype=leaf.dtype)


def spread(found: Any, abstract: Any, mesh: Mesh) -> Any:
  """Copies the first replica's arrays to all replicas, bit for bit.

  Args:
    found: the arrays, on `mesh.devices[:1]`; anything in a process that has
      none of those devices.
    abstract: shapes, dtypes and shardings on `mesh`, and placeholders.
    mesh: its first axis is that of the replicas.
  """
  leaves, tree = jax.tree.flatten(abstract)
  out = jax.tree.leaves(found)
  wanted = [i for i, leaf in enumerate(leaves) if leaf is not ocp.PLACEHOLDER]
  for group in _groups(wanted, lambda i: _size(leaves[i])):
    stacked = [_stacked(out[i], leaves[i], mesh) for i in group]
    copies = jax.jit(
        lambda xs: [_sum(x) for x in xs], donate_argnums=0,
        out_shardings=[leaves[i].sharding for i in group])(stacked)
    for i, copy in zip(group, copies, strict=True):
      out[i] = copy
  return jax.tree.unflatten(tree, out)


def _size(leaf: Any) -> int:
  """Returns the bytes of an array."""
  return math.prod(leaf.shape) * leaf.dtype.itemsize


def _groups(items: list[int], size: Callable[[int], int]
            ) -> Iterator[list[int]]:
  """Yields runs of items of about _BYTES."""
  group: list[int] = []
  for item in items:
    group.append(item)
    if sum(map(size, group)) >= _BYTES:
      yield group
      group = []
  if group:
    yield group


def _stacked(found: Any, leaf: Any, mesh: Mesh) -> jax.Array:
  """Returns all replicas of an array, zeros but for the first one.

  Returns:
    (replicas, *shape), the first axis split over the mesh's first.
  """
  sharding = NamedSharding(
      mesh, PartitionSpec(mesh.axis_names[0], *leaf.sharding.spec))
  shape = (mesh.devices.shape[0], *leaf.shape)
  part = sharding.shard_shape(shape)
  here = {shard.device: shard.data for shard in (
      found.addressable_shards if isinstance(found, jax.Array) else ())}
  return jax.make_array_from_single_device_arrays(shape, sharding, [
      here[device][None] if device in here
      else jax.device_put(np.zeros(part, leaf.dtype), device)
      for device in sharding.addressable_devices])


def _sum(stacked: jax.Array) -> jax.Array:
  """Returns the sum over the first axis of bits that only one of them has."""
  # In whole numbers: -0.0 + 0.0 is 0.0, and a NaN may lose its bits.
  if stacked.dtype == jnp.bool_:
    return jnp.any(stacked, axis=0)
  unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint64}[
      stacked.dtype.itemsize]
  bits = jax.lax.bitcast_convert_type(stacked, unsigned)
  return jax.lax.bitcast_convert_type(
      jnp.sum(bits, axis=0, dtype=unsigned), stacked.dtype)

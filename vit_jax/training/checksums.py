"""A checksum of every array of a state, the same on any mesh of devices.

It is computed where the parts of the array lie, from their bits and places, in
whole numbers modulo 2^32: the order of the sum, and so the sharding, does not
matter. A single wrong bit always changes it, and other damage passes once in
2^64.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vit_jax.devices.distributed import sum_over_processes


def checksums(tree: Any) -> dict[str, str]:
  """Returns 16 hexadecimal digits for every array, by its path in the tree.

  Args:
    tree: of arrays on devices, sharded in any way. Every process of a job must
      call this, and gets the whole result.
  """
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  # No device waits for another, and all start before the host waits.
  parts = jax.device_get([
      [_sums(shard.data, *_places(leaf, shard.index))
       for shard in leaf.addressable_shards if shard.replica_id == 0]
      for _, leaf in leaves])
  sums = np.array([
      np.sum([[0, 0], *part], axis=0, dtype=np.uint64) for part in parts],
      np.uint64).reshape(-1, 2)
  totals = sum_over_processes((sums % 2**32).astype(np.uint32)) % 2**32
  return {
      jax.tree_util.keystr(path, simple=True, separator="/"):
          f"{int(first):08x}{int(second):08x}"
      for (path, _), (first, second) in zip(leaves, totals, strict=True)}


def _places(
    array: jax.Array, index: tuple[slice, ...]
) -> tuple[np.ndarray, np.uint32]:
  """Returns where a part of an array lies in the whole, in elements mod 2^32.

  Returns:
    How far it is from one element to the next along each axis, and the place
    of the first one.
  """
  strides = [math.prod(array.shape[axis + 1:]) for axis in range(array.ndim)]
  start = sum((part.start or 0) * stride
              for part, stride in zip(index, strides, strict=True))
  return (np.array([x % 2**32 for x in strides], np.uint32),
          np.uint32(start % 2**32))


@jax.jit
def _sums(
    part: jax.Array, strides: jax.Array, start: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns two sums, uint32 (), over the bits of a part of an array."""
  words = _words(part)
  place = jnp.full(words.shape, start)
  for axis in range(part.ndim):
    along = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
    place += along * strides[axis]
  if words.ndim > part.ndim:  # Two words an element.
    place = 2 * place + jax.lax.broadcasted_iota(
        jnp.uint32, words.shape, part.ndim)
  weight = _mixed(place)
  # Times an odd number: a flipped bit k changes the sum by a multiple of 2^k
  # that is not one of 2^32.
  first = jnp.sum(words * (weight | np.uint32(1)), dtype=jnp.uint32)
  second = jnp.sum(_mixed(words + weight), dtype=jnp.uint32)
  return first, second


def _words(array: jax.Array) -> jax.Array:
  """Returns the bits of each element as uint32; 64 bits as two of them."""
  if array.dtype == jnp.bool_:
    return array.astype(jnp.uint32)
  size = array.dtype.itemsize
  unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}[size]
  return jax.lax.bitcast_convert_type(array, unsigned).astype(jnp.uint32)


def _mixed(words: jax.Array) -> jax.Array:
  """Returns the finaliser of MurmurHash3, one to one on 32 bits."""
  words = (words ^ (words >> 16)) * np.uint32(0x85EBCA6B)
  words = (words ^ (words >> 13)) * np.uint32(0xC2B2AE35)
  return words ^ (words >> 16)

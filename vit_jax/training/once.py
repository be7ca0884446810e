"""Reads a file in one process, for all of a job.

A thousand hosts that each download the same weights are a thousand downloads;
the network between them is faster, and free of charge.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.experimental import multihost_utils
import numpy as np

from vit_jax.devices.distributed import is_primary
from vit_jax.errors import UserError


def read_once(
    read: Callable[[], tuple[Any, str]], abstract: Any
) -> tuple[Any, str]:
  """Returns what `read` returns in process 0, in every process.

  Args:
    read: returns parameters and a SHA-256 in hexadecimal digits.
    abstract: shapes and dtypes of the parameters.

  Raises:
    UserError: process 0 cannot read it.
  """
  if jax.process_count() == 1:
    return read()
  error, digest = None, "0" * 64
  params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), abstract)
  if is_primary():
    try:
      found, digest = read()
      params = jax.tree.map(
          lambda x, like: np.asarray(x, like.dtype), found, abstract)
    except UserError as caught:
      error = caught
  # First, so that nobody waits for parameters that will not come.
  if int(multihost_utils.broadcast_one_to_all(np.int32(error is not None))):
    raise error or UserError(
        "process 0 cannot read the weights to start from; its log says why")
  sent, number = multihost_utils.broadcast_one_to_all(
      (params, np.frombuffer(bytes.fromhex(digest), np.uint8)))
  return jax.tree.map(np.asarray, sent), np.asarray(
      number, np.uint8).tobytes().hex()

"""Failures of the machine, its devices and storage, as one line each."""

import errno
import os
import traceback

from vit_jax.errors import is_from_bucket, one_line

# What disks and network file systems answer where a program can do nothing.
_STORAGE = (errno.EIO, errno.EROFS, errno.ESTALE, errno.EREMOTEIO,
            errno.ENOTCONN, errno.ETIMEDOUT)


def in_one_line(error: Exception) -> str | None:
  """Returns one line about a failure; None where it is a bug of ours."""
  if isinstance(error, OSError) and (message := _of_disks(error)):
    return message
  if isinstance(error, RuntimeError | AssertionError) and (
      message := _of_devices(error)):
    return message
  return (f"the bucket answered: {one_line(error)}" if is_from_bucket(error)
          else None)


def _of_disks(error: OSError) -> str | None:
  """Returns one line about a file that cannot be read or written."""
  if error.errno in (errno.ENOSPC, errno.EDQUOT):
    where = error.filename or "what was being written"
    return f"{where}: the disk is full; make room and repeat the command"
  # Of an open file, as when a disk fails, the error has no name.
  where = error.filename or ("a file" if error.errno in _STORAGE else None)
  if where is None or error.strerror is None:
    return None
  return f"{where}: {error.strerror}"


def _of_devices(error: Exception) -> str | None:
  """Returns one line about an error of the devices."""
  first = (str(error).splitlines() or [""])[0][:200]
  if "RESOURCE_EXHAUSTED" in str(error):
    return f"the device is out of memory; use a smaller batch ({first})"
  frames = traceback.extract_tb(error.__traceback__)
  if "Unable to initialize backend" not in first and not (
      frames and frames[-1].filename.endswith(
          os.path.join("jax", "_src", "xla_bridge.py"))):
    return None
  wanted = os.environ.get("JAX_PLATFORMS", "")
  reason = first or "there is none of this kind"
  return (f"JAX cannot use the devices (JAX_PLATFORMS={wanted!r}): {reason}; "
          "end the process that holds them, or set JAX_PLATFORMS=cpu")

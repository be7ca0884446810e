"""How programs are compiled: options by TPU generation, and a cache.

The cache keeps the programs that earlier runs compiled, so that a restart need
not compile them again.
"""

from collections.abc import Callable
import os

import jax

from vit_jax.devices import chips
from vit_jax.errors import UsageError, suggest

_OVERLAP = {
    "xla_tpu_enable_async_collective_fusion": "true",
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather": "true",
    "xla_tpu_enable_async_collective_fusion_multiple_steps": "true",
    "xla_tpu_overlap_compute_collective_tc": "true",
    "xla_enable_async_all_gather": "true",
}
_SLICES = {
    "xla_tpu_enable_data_parallel_all_reduce_opt": "true",
    "xla_tpu_data_parallel_opt_different_sized_ops": "true",
}


def _vmem(tpu: chips.TPU) -> dict[str, str]:
  if tpu.vmem_limit_kib is None:
    return {}
  return {"xla_tpu_scoped_vmem_limit_kib": str(tpu.vmem_limit_kib)}


# Options of the TPU compiler, as jax.jit(compiler_options=...) takes them, by
# preset:
#   overlap: parameters are gathered while the matrix units compute (fsdp).
#   slices: the sum of gradients over several slices is cut into pieces, which
#     are sent while others are still being computed.
#   vmem: more fast memory for one operation, on chips that have it.
PRESETS: dict[str, Callable[[chips.TPU], dict[str, str]]] = {
    "none": lambda tpu: {},
    "overlap": lambda tpu: _OVERLAP,
    "slices": lambda tpu: _SLICES,
    "vmem": _vmem,
}


def compiler_options(xla: str, device_kind: str) -> dict[str, str]:
  """Returns the compiler options of one or several presets.

  Args:
    xla: config.train.xla: names of PRESETS, separated by commas
      ("overlap,vmem").
    device_kind: as in `jax.devices()[0].device_kind`; for anything but a TPU
      the presets are empty.

  Raises:
    UsageError: an unknown preset.
  """
  tpu = chips.tpu_by_device_kind(device_kind)
  options: dict[str, str] = {}
  for name in xla.split(","):
    if name not in PRESETS:
      raise UsageError(
          f"config.train.xla={xla!r}: unknown preset {name!r}"
          f"{suggest(name, PRESETS)}; known: {', '.join(PRESETS)}")
    options |= PRESETS[name](tpu) if tpu else {}
  return options


def enable_cache() -> str:
  """Turns on JAX's persistent compilation cache and returns its folder.

  The folder is $JAX_COMPILATION_CACHE_DIR (on a pod: in a bucket that all
  hosts can read), or else ~/.cache/vit_jax/compiled; an empty value turns the
  cache off. It may be deleted at any time. Its contents are executed, so trust
  it only as far as you would trust code.
  """
  folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
  if folder is None:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # A user without a home directory, as in containers, has no cache.
    folder = "" if cache.startswith("~") else os.path.join(
        cache, "vit_jax", "compiled")
  jax.config.update("jax_compilation_cache_dir", folder or None)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
  return folder

"""How programs are compiled: options by TPU generation, and a cache.

The cache keeps the compiled programs of earlier runs, so that a restart does
not compile again.
"""

import os

import jax

from vit_jax.errors import UsageError, suggest

# Options of the TPU compiler, as jax.jit(compiler_options=...) takes them, by
# preset and generation. What each is for:
#   overlap: gathers of parameters run while the matrix units work (fsdp).
#   vmem: more of the fast memory for one operation, on chips that have it.
#   slices: the sum of gradients over several slices is cut in pieces that
#     travel while others are still computed.
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
_ALL = ("v2", "v3", "v4", "v5e", "v5p", "v6e", "7x")
PRESETS: dict[str, dict[str, dict[str, str]]] = {
    "none": {},
    "overlap": {generation: _OVERLAP for generation in _ALL},
    "slices": {generation: _SLICES for generation in _ALL},
    "vmem": {
        "v5e": {"xla_tpu_scoped_vmem_limit_kib": "65536"},
        "v5p": {"xla_tpu_scoped_vmem_limit_kib": "65536"},
        "v6e": {"xla_tpu_scoped_vmem_limit_kib": "98304"},
        "7x": {"xla_tpu_scoped_vmem_limit_kib": "32768"},
    },
}
# What jax calls a device -> generation.
GENERATIONS = {
    "TPU v2": "v2", "TPU v3": "v3", "TPU v4": "v4", "TPU v5 lite": "v5e",
    "TPU v5e": "v5e", "TPU v5": "v5p", "TPU v5p": "v5p", "TPU v6 lite": "v6e",
    "TPU v6e": "v6e", "TPU7x": "7x", "TPU v7x": "7x"}


def compiler_options(xla: str, generation: str | None) -> dict[str, str]:
  """Returns the options of one or several presets ("overlap,vmem").

  Args:
    xla: config.train.xla; names of PRESETS with commas between them.
    generation: of the TPU, None elsewhere, where no option is known.

  Raises:
    UsageError: there is no such preset.
  """
  options: dict[str, str] = {}
  for name in xla.split(","):
    if name not in PRESETS:
      raise UsageError(
          f"config.train.xla={xla!r}: unknown preset {name!r}"
          f"{suggest(name, PRESETS)}; known: {', '.join(PRESETS)}")
    options |= PRESETS[name].get(generation or "", {})
  return options


def enable_cache() -> str:
  """Turns jax's persistent compilation cache on and returns its folder.

  $JAX_COMPILATION_CACHE_DIR (a bucket that all hosts see, on a pod) or
  ~/.cache/vit_jax/compiled; an empty value turns it off. The folder may be
  deleted at any time. Treat it as code: it is executed.
  """
  folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
  if folder is None:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(cache, "vit_jax", "compiled")
  jax.config.update("jax_compilation_cache_dir", folder or None)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
  return folder

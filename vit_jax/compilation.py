"""The compiled programs of earlier runs, kept: a restart does not recompile."""

import os

import jax


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

"""Eight fake CPU devices, strict shapes, no network: for every test."""

import atexit
import importlib.metadata
import logging
import os
import pathlib
import shutil
import signal
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "xla_force_host_platform_device_count" not in os.environ.get(
    "XLA_FLAGS", ""):
  os.environ["XLA_FLAGS"] = (
      os.environ.get("XLA_FLAGS", "")
      + " --xla_force_host_platform_device_count=8").strip()

# With XLA's emitters of fusions, which this release uses unless told, programs
# of this size take nearly twice as long to compile. An XLA that does not know
# an option ends the process.
if importlib.metadata.version("jaxlib").startswith("0.10."):
  os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"

# Tests compile the same tiny programs again and again. The process of each
# xdist worker keeps them in a folder of its own, since JAX's files are not
# written in one step; what its tests start reads and adds to them.
_COMPILED = tempfile.mkdtemp(prefix="vit_jax_compiled_")
atexit.register(shutil.rmtree, _COMPILED, ignore_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED

from absl import flags  # noqa: E402
from absl import logging as absl_logging  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402
import shape_checks  # noqa: E402

shape_checks.install()  # Before anything imports vit_jax.

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")
# Tiny models compile for longer than they run. Most of what starts a process of
# its own runs fully optimised, as users do.
jax.config.update("jax_disable_most_optimizations", True)


_CACHE = {
    "jax_compilation_cache_dir": _COMPILED,
    "jax_persistent_cache_min_compile_time_secs": 0.05,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


def pytest_configure() -> None:
  # A shell ignores SIGINT for what it starts in the background, and so would
  # the commands that tests interrupt.
  if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
  # Grain's worker processes read absl flags, which pytest never parses.
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()


@pytest.fixture(autouse=True)
def _cache_of_compiled_programs():
  """What a test makes of JAX's cache, by a command that sets it up, ends."""
  for name, value in _CACHE.items():
    jax.config.update(name, value)


@pytest.fixture(autouse=True)
def _logging_of_the_process():
  """Commands choose what is logged for their process; this one is pytest's."""
  root, verbosity = logging.getLogger(), absl_logging.get_verbosity()
  handlers = root.handlers[:]
  yield
  absl_logging.set_verbosity(verbosity)
  # pytest's own handlers come and go with the phases of a test.
  for handler in root.handlers[:]:
    if handler not in handlers and "vit_jax" in type(handler).__module__:
      root.removeHandler(handler)


@pytest.fixture
def goldens():
  """The folder of reference outputs (see its README.md)."""
  return pathlib.Path(__file__).parent / "data" / "goldens"

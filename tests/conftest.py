"""Eight fake CPU devices, strict shapes, no network: for every test."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "xla_force_host_platform_device_count" not in os.environ.get(
    "XLA_FLAGS", ""):
  os.environ["XLA_FLAGS"] = (
      os.environ.get("XLA_FLAGS", "")
      + " --xla_force_host_platform_device_count=8").strip()

from absl import flags  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402
import shape_checks  # noqa: E402

shape_checks.install()  # Before anything imports vit_jax.

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")
# Tiny models compile for longer than they run. What starts a process of its
# own (resume, the quickstart) runs fully optimised, as users do.
jax.config.update("jax_disable_most_optimizations", True)


def pytest_configure() -> None:
  # Grain's worker processes read absl flags, which pytest never parses.
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()


@pytest.fixture
def goldens():
  """The folder of reference outputs (see its README.md)."""
  import pathlib

  return pathlib.Path(__file__).parent / "data" / "goldens"

"""Options of the TPU compiler, by preset and generation."""

import jax
import pytest

from vit_jax.devices import chips
from vit_jax.devices.compilation import (
  PRESETS,
  compiler_options,
  enable_cache,
)
from vit_jax.errors import UsageError


def test_presets_are_by_generation():
  assert compiler_options("none", "TPU v5e") == {}
  assert compiler_options("vmem", "TPU v6 lite") == {
      "xla_tpu_scoped_vmem_limit_kib": "98304"}
  assert compiler_options("vmem", "TPU v3") == {}  # It has no more to give.
  v4 = chips.tpu_by_name("v4")
  assert compiler_options("overlap,slices", "TPU v4") == (
      PRESETS["overlap"](v4) | PRESETS["slices"](v4))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_empty_without_a_tpu(preset):
  assert compiler_options(preset, "cpu") == {}
  assert compiler_options(preset, "NVIDIA H100 80GB HBM3") == {}


@pytest.mark.parametrize("device_kind", ["TPU v4", "cpu"])
def test_unknown_presets_are_refused_on_every_device(device_kind):
  with pytest.raises(UsageError, match="unknown preset 'overlop'"):
    compiler_options("overlop", device_kind)


def test_a_user_without_a_home_directory_has_no_cache(monkeypatch):
  before = {name: getattr(jax.config, name) for name in (
      "jax_compilation_cache_dir",
      "jax_persistent_cache_min_compile_time_secs")}
  for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setattr("os.path.expanduser", lambda path: path)
  try:
    assert enable_cache() == ""
    assert jax.config.jax_compilation_cache_dir is None
    monkeypatch.setattr("os.path.expanduser", lambda path: "/home/me/.cache")
    assert enable_cache() == "/home/me/.cache/vit_jax/compiled"
  finally:
    for name, value in before.items():
      jax.config.update(name, value)

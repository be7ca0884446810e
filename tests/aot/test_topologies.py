"""Slices by the names that people use."""

import re

import pytest

from vit_jax.aot import topologies
from vit_jax.aot.topologies import parse, sizes
from vit_jax.devices.chips import TPUS, tpu_by_name
from vit_jax.errors import UsageError


@pytest.mark.parametrize(("name", "shape", "chips", "devices"), [
    ("v2-8", "v2:2x2", 4, 8),
    ("v3-512", "v3:16x16", 256, 512),
    ("v4-256", "v4:4x4x8", 128, 128),
    ("v5e-256", "v5e:16x16", 256, 256),
    ("v5litepod-16", "v5e:4x4", 16, 16),
    ("v5e-1", "v5e:1x1", 1, 1),
    ("v5p-128", "v5p:4x4x4", 64, 64),
    ("v6e-64", "v6e:8x8", 64, 64),
    ("7x-128", "tpu7x:4x4x4", 64, 128),
    ("v5e:2x4", "v5e:2x4", 8, 8),
    ("tpu7x:2x2x1", "tpu7x:2x2x1", 4, 8),
    ("2x v5e-256", "v5e:16x16", 512, 512),
    ("3*v4-8", "v4:2x2x1", 12, 12),
])
def test_names(name, shape, chips, devices):
  topology = parse(name)
  assert topology.libtpu_name == shape
  assert topology.chips == chips
  assert topology.device_count == devices


@pytest.mark.parametrize("name", [
    f"{generation.name}-{size}" for generation in TPUS
    for size in sizes(generation)])
def test_names_of_all_usual_slices_come_back(name):
  assert parse(name).name == name


@pytest.mark.parametrize(("name", "message"), [
    ("v5e", "is not a TPU slice"),
    ("h100-8", "unknown generation 'h100'"),
    ("v6-8", "did you mean 'v6e'"),
    ("v3-7", "N of v3-N counts TensorCores: 8, 32"),
    ("v5e-300", "counts chips"),
    ("v4:4x4", "wired in 3 dimensions"),
    ("v5e:32x32", "1 to 256 chips"),
    ("0x v5e-8", "1 to 256 chips"),
])
def test_unknown_names_are_refused(name, message):
  with pytest.raises(UsageError, match=re.escape(message)):
    parse(name)


def test_the_clock_makes_the_peak():
  # Matrix units per TensorCore and their side, from Google's pages.
  units = {"v2": (1, 128), "v3": (2, 128), "v4": (4, 128), "v5e": (4, 128),
           "v5p": (4, 128), "v6e": (4, 256), "7x": (4, 256)}
  cores = {"v5e": 1, "v6e": 1}
  for name, (count, side) in units.items():
    generation = tpu_by_name(name)
    peak = (cores.get(name, 2) * count * 2 * side**2 * generation.clock_mhz
            * 1e6)
    assert peak == pytest.approx(generation.teraflops * 1e12, rel=0.03), name


@pytest.mark.parametrize("name", ["v3-512", "v2-8"])
def test_a_schedule_that_cannot_be_read_as_time_is_refused(name):
  with pytest.raises(UsageError, match="final schedule for v[23]-.*leave it"):
    topologies.check_schedule(topologies.parse(name))
  topologies.check_schedule(topologies.parse("v5e-8"))

"""The table of slices agrees with itself and with what is documented."""

import math
import pathlib

import pytest

from launch import accelerators
from launch.gcloud import UsageError
from vit_jax.devices.chips import TPUS

ALL = [(g, c) for g in TPUS for c in g.offered_chips]


@pytest.mark.parametrize("generation,chips", ALL)
def test_topology_and_hosts_multiply_to_the_chips(generation, chips):
  name = accelerators.accelerator_type(generation, chips)
  one = accelerators.parse(name)
  assert (one.type, one.chips, one.generation) == (name, chips, generation)
  assert math.prod(map(int, one.topology.split("x"))) == chips
  assert one.hosts * one.chips_per_host == chips
  assert one.chips_per_host in (1, 4, 8)


@pytest.mark.parametrize("name,hosts,per_host,topology", [
    ("v2-8", 1, 4, "2x2"), ("v3-32", 4, 4, "4x4"), ("v3-512", 64, 4, "16x16"),
    ("v4-8", 1, 4, "2x2x1"), ("v4-256", 32, 4, "4x4x8"),
    ("v5litepod-1", 1, 1, "1x1"), ("v5litepod-8", 1, 8, "2x4"),
    ("v5litepod-16", 4, 4, "4x4"), ("v5litepod-256", 64, 4, "16x16"),
    ("v5p-8", 1, 4, "2x2x1"), ("v5p-128", 16, 4, "4x4x4"),
    ("v6e-8", 1, 8, "2x4"), ("v6e-64", 16, 4, "8x8"),
    ("tpu7x-16", 2, 4, "2x2x2"), ("tpu7x-2", 1, 1, "1x1x1")])
def test_documented_slices(name, hosts, per_host, topology):
  one = accelerators.parse(name)
  assert (one.hosts, one.chips_per_host, one.topology) == (
      hosts, per_host, topology)


def test_machine_types():
  machine = {n: accelerators.parse(n).machine for n in (
      "v6e-1", "v6e-4", "v6e-8", "v6e-16", "v5p-16", "tpu7x-8", "v3-8")}
  assert machine == {
      "v6e-1": "ct6e-standard-1t", "v6e-4": "ct6e-standard-4t",
      "v6e-8": "ct6e-standard-8t", "v6e-16": "ct6e-standard-4t",
      "v5p-16": "ct5p-hightpu-4t", "tpu7x-8": "tpu7x-standard-4t",
      "v3-8": ""}


def test_other_spellings():
  for other, name in {"v5e-16": "v5litepod-16", "7x-16": "tpu7x-16",
                      "v7x-16": "tpu7x-16", "V3-8": "v3-8",
                      "v5lite-16": "v5litepod-16"}.items():
    assert accelerators.parse(other).type == name


@pytest.mark.parametrize("name,words", [
    ("v5litpod-16", "did you mean 'v5litepod-N'"),
    ("v9-8", "unknown TPU generation"),
    ("v3-24", "N counts TensorCores; v3 has v3-8, v3-32"),
    ("v5litepod-32x", "N counts chips"), ("v3", "unknown")])
def test_unknown_slices_say_what_is_known(name, words):
  with pytest.raises(UsageError, match=words):
    accelerators.parse(name)


def test_the_readme_holds_the_table():
  readme = pathlib.Path(accelerators.__file__).with_name("README.md")
  assert accelerators.markdown() in readme.read_text()

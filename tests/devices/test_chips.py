"""One row per TPU generation, and everything else follows from it."""

import pathlib
import subprocess
import sys

import pytest

from vit_jax.aot import topologies
from vit_jax.devices import chips
from vit_jax.devices.compilation import compiler_options
from vit_jax.models import cost

ROOT = pathlib.Path(__file__).parents[2]
# A generation that nobody has built.
V9 = chips.TPU(
    name="v9", device_kinds=("TPU v9 lite", "TPU v9"), libtpu="tpu9",
    accelerator="v9pod", aliases=("nonesuch",), cores=2, devices=2,
    hbm_gib_per_device=100, teraflops=3000, hbm_gb_per_s=8000,
    ici_gb_per_s=1000, dcn_gb_per_s=20, clock_mhz=2000, vmem_limit_kib=12345,
    dimensions=3, pod_chips=64, offered_chips=(4, 8, 16, 64),
    single_host_chips=(4,), host_gb=500, runtime="v9-base",
    machine="ct9-{chips}t", image="ubuntu-v9", gke="tpu-v9-slice")


@pytest.fixture
def v9(monkeypatch):
  """Adds the generation to the table, and to nothing else."""
  monkeypatch.setattr(chips, "TPUS", (*chips.TPUS, V9))


@pytest.fixture
def launch_path(monkeypatch):
  """Makes launch/ importable, which is not a part of the package."""
  monkeypatch.syspath_prepend(ROOT)


def test_before_its_row_the_generation_is_unknown():
  assert compiler_options("overlap,vmem", "TPU v9") == {}
  assert cost.peak_flops("TPU v9") is None
  with pytest.raises(topologies.UsageError, match="unknown generation 'v9'"):
    topologies.parse("v9-32")


def test_a_row_gives_compiler_options(v9):
  assert compiler_options("vmem", "TPU v9") == {
      "xla_tpu_scoped_vmem_limit_kib": "12345"}
  assert compiler_options("overlap,slices", "TPU v9 lite") == (
      compiler_options("overlap,slices", "TPU v4"))


def test_a_row_gives_the_peak_of_a_device(v9):
  assert cost.peak_flops("TPU v9 lite") == 1500e12
  assert cost.mfu(100, 3e12, "TPU v9") == pytest.approx(0.2)


@pytest.mark.parametrize(
    "name", ["v9-32", "v9pod-32", "nonesuch-32", "tpu9:2x2x4"])
def test_a_row_gives_slices_to_compile_for(v9, name):
  topology = topologies.parse(name)
  assert topology.name == "v9-32" and topology.libtpu_name == "tpu9:2x2x4"
  assert (topology.chips, topology.device_count) == (16, 32)
  assert topology.hbm_bytes == 100 * 2**30
  assert topology.hbm_bandwidth == 4000e9
  assert list(topologies.sizes(V9)) == ["8", "16", "32", "64", "128"]


def test_a_row_gives_slices_to_launch(v9, launch_path, capsys):
  from launch import accelerators, run
  from launch.gke import jobset

  one = accelerators.parse("v9-32")
  assert (one.type, one.hosts, one.topology) == ("v9pod-32", 4, "2x2x4")
  place = ["--accelerator=v9pod-32", "--bucket=gs://my-bucket",
           "--data=gs://my-bucket/data"]
  trainer = ["--", "--config=configs/vit.py:b16,cifar10"]
  asked = [*place, "--zone=us-west4-a", "--project=my-project",
           "--dry-run"]
  assert run.main([*asked, *trainer]) == 0
  printed = capsys.readouterr().out
  assert "--accelerator-type=v9pod-32" in printed
  assert "--runtime-version=v9-base" in printed
  assert run.main([*asked, "--backend=compute-engine", *trainer]) == 0
  printed = capsys.readouterr().out
  assert "--machine-type=ct9-4t" in printed
  assert "--image-family=ubuntu-v9" in printed
  assert jobset.main([*place, "--image=i:1", *trainer]) == 0
  assert "tpu-v9-slice" in capsys.readouterr().out
  assert "| v9 | v9pod-8, 16, 32, 128 | TensorCores | 4 | `v9-base` | " in (
      accelerators.markdown())


def test_names_and_device_kinds_belong_to_one_generation():
  for words in (
      [w for t in chips.TPUS for w in {
          t.name, t.libtpu, t.accelerator, *t.aliases}],
      [kind for t in chips.TPUS for kind in t.device_kinds]):
    assert len(words) == len(set(words))


@pytest.mark.parametrize("tpu", chips.TPUS, ids=lambda tpu: tpu.name)
def test_a_row_agrees_with_itself(tpu):
  # What is offered has a shape, and what is one host has at most 8 chips.
  assert set(tpu.offered_chips) <= set(tpu.shapes)
  assert tpu.offered_chips == tuple(sorted(tpu.offered_chips))
  assert max(tpu.offered_chips) <= tpu.pod_chips
  assert set(tpu.single_host_chips) <= {1, 4, 8}
  # A JAX device is a whole chip, or one of its TensorCores.
  assert tpu.devices in (1, tpu.cores)
  # What Compute Engine serves, it serves with an image.
  assert bool(tpu.machine) == bool(tpu.image)
  assert tpu.runtime or tpu.machine


def test_the_table_needs_the_standard_library_only():
  # -S: no site-packages, as on a laptop where nothing is installed.
  code = "\n".join([
      "import sys",
      f"sys.path.insert(0, {str(ROOT)!r})",
      "import launch.run, launch.watch, launch.dev, launch.gke.jobset",
      "from vit_jax.devices import chips",
      "assert launch.run.parse and chips.TPUS",
      "foreign = {'jax', 'jaxlib', 'numpy', 'absl', 'ml_collections'}",
      "assert not foreign & set(sys.modules), foreign & set(sys.modules)",
      "own = {m for m in sys.modules if m.startswith('vit_jax')}",
      "assert own == {'vit_jax', 'vit_jax.moved', 'vit_jax.devices', "
      "'vit_jax.devices.chips'}"])
  subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)

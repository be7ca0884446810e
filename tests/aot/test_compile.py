"""The TPU compiler on this machine's CPU: needs libtpu, but no TPU."""

import json
import os
import subprocess
import sys

import pytest

from vit_jax.aot import topologies
from vit_jax.aot.lower import out_of_memory

KEYS = {
    "fits", "devices", "hbm_bytes", "argument_bytes", "temporary_bytes",
    "peak_bytes", "flops_per_image", "hbm_bytes_moved", "groups", "method",
    "estimated_step_seconds", "images_per_second_per_device", "mfu",
    "compile_seconds"}
SMALL = ("--config=configs/quickstart.py", "--config.model.depth=1")


def compile_(*words):
  """Runs the verb as people do; returns (exit code, output, messages)."""
  environment = os.environ | {"XLA_FLAGS": ""}
  done = subprocess.run(
      [sys.executable, "-m", "vit_jax", "compile", *words], text=True,
      capture_output=True, env=environment, timeout=1500, check=False)
  return done.returncode, done.stdout, done.stderr


def answer(*words):
  code, output, messages = compile_(*words, "--json")
  assert code == 0, messages[-2000:]
  found = json.loads(output)
  assert found.keys() >= KEYS
  return found


@pytest.mark.tpu_compiler
@pytest.mark.parametrize(("topology", "batch"), [
    pytest.param("v3-8", 64, marks=pytest.mark.thorough),
    pytest.param("v4-8", 64, marks=pytest.mark.thorough),
    pytest.param("v5e-8", 64, marks=pytest.mark.thorough),
    pytest.param("v6e-8", 64, marks=pytest.mark.thorough),
    pytest.param("7x-8", 256, marks=pytest.mark.thorough)])
def test_s16(libtpu, topology, batch):
  # Its blocks as one loop: unrolled it compiles several times as long. (With 8
  # pictures a device, libtpu 0.0.42.1 overflows its stack for 7x, unless
  # `ulimit -s unlimited` came before.)
  found = answer(
      "--config=configs/pretrain.py:S/16,imagenet21k", "--topology", topology,
      f"--config.data.batch_size={batch}", "--config.model.scan=True",
      "--config.model.remat=dots")
  slice_ = topologies.parse(topology)
  assert found["fits"] and found["peak_bytes"] < found["hbm_bytes"]
  assert found["devices"] == slice_.device_count
  # Replicated: float32 parameters of S/16 with hidden layer, two moments.
  assert found["parameter_bytes"] == 4 * 30_223_059
  assert found["optimizer_bytes"] == pytest.approx(8 * 30_223_059, rel=1e-4)
  assert found["argument_bytes"] >= 12 * 30_223_059
  # Gradients of all parameters are summed over the devices, in 16 or 32 bits.
  assert 2 * 30e6 < found["wire_bytes"] < 2 * 4 * 32e6
  assert 0.01 < found["mfu"] <= 1
  # Twelve runs of a loop's body, and its recomputed products.
  assert 1 < found["compiler_flops_per_image"] / found[
      "flops_per_image"] < 1.3
  assert found["compute_seconds"] <= found["estimated_step_seconds"]
  assert found["estimated_step_seconds"] < 100 * found["compute_seconds"]


@pytest.mark.tpu_compiler
@pytest.mark.thorough
def test_b16_by_the_final_schedule(libtpu):
  # B/16 at 384, 16 pictures a device, SGD (jax 0.10.2, libtpu 0.0.42.1).
  # big_vision's step in bfloat16 has 3.7 GiB of temporaries.
  found = answer(
      "--config=configs/vit.py:b16,imagenet2012", "--topology=v5e:2x4",
      "--config.data.batch_size=128", "--schedule")
  # The program's products are those of the formula.
  assert found["compiler_flops_per_image"] == pytest.approx(
      found["flops_per_image"], rel=0.01)
  assert found["temporary_bytes"] < 3.7 * 2**30
  # Scores and their gradients are written once and read five times:
  # 16 x 12 x 584 x 640 x 2 bytes, in 12 blocks.
  scores = 12 * 16 * 12 * 584 * 640 * 2
  assert 5 * scores < found["groups"]["attention"]["bytes"] < 9 * scores
  assert found["method"] == "schedule" and not found["unscheduled"]
  assert 0.5 < found["mfu"] < 0.7


@pytest.mark.slow
@pytest.mark.tpu_compiler
def test_the_schedule_takes_no_less_than_the_products(libtpu):
  words = (*SMALL, "--topology=v5e-1", "--config.model.dtype=bfloat16")
  plain, scheduled = answer(*words), answer(*words, "--schedule")
  assert (plain["method"], scheduled["method"]) == ("operations", "schedule")
  assert not scheduled["unscheduled"]
  assert scheduled["hbm_bytes_moved"] == plain["hbm_bytes_moved"]
  assert scheduled["estimated_step_seconds"] > plain["estimated_step_seconds"]
  assert scheduled["groups"]["attention"]["seconds"] > 0


@pytest.mark.tpu_compiler
@pytest.mark.thorough
def test_too_large_is_an_answer_and_the_remedy_is_named(libtpu):
  found = answer(
      *SMALL, "--config.model.variant=B/16", "--config.model.width=768",
      "--config.model.mlp_dim=3072", "--config.model.num_heads=12",
      "--config.model.depth=2", "--config.data.image_size=224",
      "--config.model.patch_size=8",
      "--config.data.batch_size=256", "--topology=v5e-1")
  assert not found["fits"]
  assert found["peak_bytes"] > found["hbm_bytes"] == int(15.75 * 2**30)
  assert found["exceeded_bytes"] == found["peak_bytes"] - found["hbm_bytes"]
  remedy = found["remedy"]
  assert remedy["fits"] and remedy["overrides"].startswith("--config.model.rem")
  assert remedy["peak_bytes"] < found["hbm_bytes"]


@pytest.mark.thorough
@pytest.mark.tpu_compiler
def test_several_slices_fsdp_accumulation_and_eval(libtpu):
  found = answer(
      *SMALL, "--topology=2x v5e-8", "--config.mesh.fsdp=4",
      "--config.train.accumulate=2", "--config.data.batch_size=64",
      "--config.model.scan=True", "--config.model.depth=3", "--eval")
  assert found["mesh"] == {"data": 4, "fsdp": 4, "tensor": 1}
  assert found["devices"] == 16 and found["network_seconds"] > 0
  assert found["collectives"].keys() >= {"all-reduce"}
  # Two micro-batches of three looped blocks, counted as often as they run.
  assert found["compiler_flops_per_image"] > 0.9 * found["flops_per_image"]
  assert found["eval"]["flops_per_image"] * 3 == found["flops_per_image"]


@pytest.mark.thorough
@pytest.mark.tpu_compiler
def test_gradients_in_float32_are_twice_the_traffic(libtpu):
  # Nearly all parameters of a block are kernels.
  words = (*SMALL, "--topology=v5e-8", "--config.data.batch_size=64",
           "--config.model.dtype=bfloat16", "--no_remedies")
  usual, wide = answer(*words), answer(
      *words, "--config.model.grad_dtype=float32")
  assert 1.7 < wide["wire_bytes"] / usual["wire_bytes"] < 2.05


@pytest.mark.slow
@pytest.mark.tpu_compiler
def test_for_people(libtpu):
  code, output, messages = compile_(*SMALL, "--topology=v5e-1")
  assert code == 0
  for word in ("fits", "yes", "GiB of 15.75 GiB", "FLOPs per image", "roofline",
               "img/s", "MFU", "whole run", "nothing was timed"):
    assert word in output
  # libtpu's own complaints are kept quiet.
  assert messages.splitlines() == [
      "vit_jax: compiling for v5e:1x1, 1 devices"]


@pytest.mark.parametrize(("words", "message"), [
    (SMALL, "--topology=SLICE is missing"),
    ((*SMALL, "--topology=v9-8"), "unknown generation 'v9'"),
    ((*SMALL, "--topology=v5e-8", "--autos"), "did you mean '--auto'"),
    (("--topology=v5e-8",), "--config=configs/FILE.py is missing"),
])
def test_wrong_use(words, message, libtpu):
  code, _, messages = compile_(*words)
  assert code == 2
  assert message in messages and len(messages.splitlines()) == 1


@pytest.mark.parametrize(("message", "used"), [
    ("RESOURCE_EXHAUSTED: ... Used 22.13G of 15.75G hbm. Exceeded hbm "
     "capacity by 6.39G.", int(22.13 * 2**30)),
    ("RESOURCE_EXHAUSTED: Used 512.0M of 16.0M hbm", 512 * 2**20),
    ("RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required "
     "for HLO temporaries (17.22G) exceeds available HBM (15.75G).",
     int(17.22 * 2**30)),
    ("RESOURCE_EXHAUSTED: something else", 0),
    ("INVALID_ARGUMENT: Used 1G of 2G hbm", None)])
def test_out_of_memory_is_read(message, used):
  assert out_of_memory(message) == used


@pytest.mark.slow
@pytest.mark.tpu_compiler
def test_a_config_with_the_attention_kernel(libtpu):
  code, output, messages = compile_(
      *SMALL, "--topology=v5e-8", "--config.model.dtype=bfloat16",
      "--config.mesh.fsdp=2", "--config.mesh.tensor=2", "--eval", "--json",
      "--config.model.attention=fused", "--config.model.remat=dots")
  assert code == 0, messages[-2000:]
  # The network is described on this CPU, but not for it.
  assert "warning" not in messages
  found = json.loads(output)
  assert found["fits"] and found["groups"]["attention"]["flops"] > 0

"""What the operations of a program compute, and what they move in HBM."""
# ruff: noqa: E501

import jax
import jax.numpy as jnp
import pytest

from vit_jax.aot.operations import hbm_bytes, operations

HEAD = 'metadata={{op_name="jit(step)/jvp(V)/encoderblock_0/{}"}}'
PROGRAM = """HloModule jit_step, is_scheduled=true

%condition (c: (s32[], f32[16])) -> pred[] {
  %limit = s32[] constant(12)
  %i = s32[] get-tuple-element(%c), index=0
  ROOT %less = pred[] compare(%i, %limit), direction=LT
}

%product (p: bf16[16,577,768], q: bf16[768,3072,1]) -> bf16[16,577,3072] {
  %p = bf16[16,577,768]{2,1,0:T(8,128)(2,1)} parameter(0)
  %q = bf16[768,3072,1]{1,0,2:T(8,128)(2,1)} parameter(1)
  ROOT %conv = bf16[16,577,3072]{2,1,0:T(8,128)(2,1)} convolution(%p, %q), window={size=1}, dim_labels=0bf_io0->0bf, DENSE
}

%picked (all: f32[12,8,128], at: s32[]) -> f32[1,8,128] {
  %all = f32[12,8,128]{2,1,0:T(8,128)} parameter(0)
  %at = s32[] parameter(1)
  ROOT %one = f32[1,8,128]{2,1,0:T(8,128)} dynamic-slice(%all, %at, %at, %at), dynamic_slice_sizes={1,8,128}
}

%replaced (all2: f32[12,8,128], new: f32[1,8,128], at2: s32[]) -> f32[12,8,128] {
  %all2 = f32[12,8,128]{2,1,0:T(8,128)} parameter(0)
  %new = f32[1,8,128]{2,1,0:T(8,128)S(1)} parameter(1)
  %at2 = s32[] parameter(2)
  ROOT %put = f32[12,8,128]{2,1,0:T(8,128)} dynamic-update-slice(%all2, %new, %at2, %at2, %at2)
}

%body (c: (s32[], f32[16])) -> (s32[], f32[16]) {
  %c = (s32[], f32[16]{0}) parameter(0)
  %stack = f32[12,8,128]{2,1,0:T(8,128)} get-tuple-element(%c), index=1
  %index = s32[]{:S(6)} get-tuple-element(%c), index=0
  %layer = f32[1,8,128]{2,1,0:T(8,128)S(1)} fusion(%stack, %index), kind=kLoop, calls=%picked, NORM
  ROOT %kept = f32[12,8,128]{2,1,0:T(8,128)} fusion(%stack, %layer, %index), kind=kLoop, calls=%replaced
}

ENTRY %main (x: f32[16]) -> f32[16] {
  %x = bf16[16,577,768]{2,1,0:T(8,128)(2,1)} parameter(0)
  %w = bf16[768,3072,1]{1,0,2:T(8,128)(2,1)S(1)} parameter(1)
  %y = bf16[16,577,3072]{2,1,0:T(8,128)(2,1)S(1)} fusion(%x, %w), kind=kOutput, calls=%product
  %ahead = (f32[8,128]{1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)S(1)}, u32[]{:S(2)}) copy-start(%z)
  %there = f32[8,128]{1,0:T(8,128)S(1)} copy-done(%ahead)
  ROOT %loop = (s32[], f32[16]{0}) while(%y), condition=%condition, body=%body
}
""".replace("DENSE", HEAD.format("MlpBlock_0/Dense_0/dot_general")).replace(
    "NORM", HEAD.format("LayerNorm_0/div"))


@pytest.mark.parametrize(("type_", "size"), [
    ("bf16[16,577,768]{2,1,0:T(8,128)(2,1)}", 16 * 584 * 768 * 2),
    # The tokens vary fastest and are padded to 128, the heads' width to 8.
    ("bf16[16,577,12,65]{1,3,2,0:T(8,128)(2,1)}", 16 * 12 * 72 * 640 * 2),
    ("f32[1000]{0:T(1024)}", 4096),
    ("f32[1000]{0:T(1024)S(1)}", 0), ("f32[]{:T(128)S(6)}", 0),
    ("s32[]", 4), ("u8[3,5]{1,0}", 15),
    ("(f32[8,128]{1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)S(1)})", 4096)])
def test_bytes_in_hbm_with_padding(type_, size):
  assert hbm_bytes(type_) == size


def test_fast_memory_does_not_count_and_loops_count_as_often_as_they_run():
  found = {x.name: x for x in operations(PROGRAM)}
  assert found.keys() == {"y", "ahead", "layer", "kept"}
  assert found["y"].bytes == hbm_bytes("bf16[16,577,768]{2,1,0:T(8,128)}")
  assert found["y"].flops == 2 * 16 * 577 * 768 * 3072
  assert (found["y"].times, found["layer"].times) == (1, 12)
  # Of the stack of all layers one is read, and one is written.
  assert found["layer"].bytes == 4096 and found["kept"].bytes == 4096
  assert found["ahead"].bytes == 4096
  assert [found[name].group for name in ("y", "layer", "ahead", "kept")] == [
      "dense", "norms", "transfers", "optimiser"]


def test_the_longer_of_arithmetic_and_traffic():
  layer = next(x for x in operations(PROGRAM) if x.name == "layer")
  assert layer.seconds(1e12, 4096) == pytest.approx(12)
  y = next(x for x in operations(PROGRAM) if x.name == "y")
  assert y.seconds(y.flops / 3, 1e30) == pytest.approx(3)


NESTED = """HloModule jit_step, is_scheduled=true

%cut (all: f32[12,8,128], at: s32[]) -> bf16[8,128] {
  %all = f32[12,8,128]{2,1,0:T(8,128)} parameter(0)
  %at = s32[] parameter(1)
  %one = bf16[1,8,128]{2,1,0:T(8,128)(2,1)} dynamic-slice(%all, %at, %at, %at), dynamic_slice_sizes={1,8,128}
  ROOT %flat = bf16[8,128]{1,0:T(8,128)(2,1)} bitcast(%one)
}

%put (stack: f32[12,8,128], new: f32[8,128], at: s32[]) -> f32[12,8,128] {
  %stack = f32[12,8,128]{2,1,0:T(8,128)} parameter(0)
  %new = f32[8,128]{1,0:T(8,128)} parameter(1)
  %at = s32[] parameter(2)
  %row = f32[1,8,128]{2,1,0:T(8,128)} bitcast(%new)
  ROOT %whole = f32[12,8,128]{2,1,0:T(8,128)} dynamic-update-slice(%stack, %row, %at, %at, %at)
}

%both (p0: f32[12,8,128], p1: s32[], p2: f32[12,8,128], p3: f32[12,8,128]) -> f32[12,8,128] {
  %p0 = f32[12,8,128]{2,1,0:T(8,128)} parameter(0)
  %p1 = s32[] parameter(1)
  %p2 = f32[12,8,128]{2,1,0:T(8,128)} parameter(2)
  %p3 = f32[12,8,128]{2,1,0:T(8,128)} parameter(3)
  %part = bf16[8,128]{1,0:T(8,128)(2,1)} fusion(%p0, %p1), kind=kLoop, calls=%cut
  %sum = f32[8,128]{1,0:T(8,128)} reduce(%p3, %part), dimensions={0}, to_apply=%add
  ROOT %result = f32[12,8,128]{2,1,0:T(8,128)} fusion(%p2, %sum, %p1), kind=kLoop, calls=%put
}

ENTRY %main (x: f32[12,8,128]) -> f32[12,8,128] {
  %x = f32[12,8,128]{2,1,0:T(8,128)} parameter(0)
  %at = s32[]{:S(6)} parameter(1)
  %room = f32[12,8,128]{2,1,0:T(8,128)} custom-call(), custom_call_target="AllocateBuffer"
  ROOT %kept = f32[12,8,128]{2,1,0:T(8,128)} fusion(%x, %at, %room, %x), kind=kLoop, calls=%both
}
"""


def test_slices_in_fusions_within_fusions_are_seen():
  (kept,) = operations(NESTED)
  # One layer read, in the four bytes it has in HBM; one written in place; the
  # stack that all of is used, read whole.
  assert kept.bytes == 4096 + 4096 + 12 * 4096


@pytest.mark.slow
@pytest.mark.tpu_compiler
def test_traffic_of_blocks_in_a_loop_grows_with_their_number(libtpu):
  from vit_jax.aot import lower, topologies
  from vit_jax.benchmark.growth import BASE, config_of

  def traffic(depth):
    attempt = lower.compile_step(
        config_of("Ti/16", BASE | {"depth": depth}),
        topologies.parse("v5e-1"), num_classes=1000, total=1_000_000)
    return sum(x.times * x.bytes for x in operations(attempt.text))

  # With less depth the stacks lie in fast memory. Were a stack read whole for
  # each of its blocks, twice the depth would be four times the traffic.
  assert 1.8 < traffic(32) / traffic(16) < 2.4


@pytest.mark.tpu_compiler
def test_products_of_a_real_program(libtpu):
  from jax.sharding import SingleDeviceSharding

  from vit_jax.aot import topologies

  device = topologies.devices(topologies.parse("v5e-1"))[0]
  shape = jax.ShapeDtypeStruct(
      (4, 197, 3, 64), jnp.bfloat16, sharding=SingleDeviceSharding(device))

  def both(q, k):
    return jnp.einsum("bqhk,bshk->bhqs", q, k)

  text = jax.jit(both).lower(shape, shape).compile().as_text()
  found = operations(text)
  # A batch of products is a convolution with dilation; its padding is no work.
  assert sum(x.flops for x in found) == 2 * 4 * 3 * 197 * 197 * 64
  least = (2 * 4 * 197 * 3 * 64 + 4 * 3 * 197 * 197) * 2
  assert least <= sum(x.bytes for x in found) < 4 * least

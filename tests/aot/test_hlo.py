"""Reading a compiled program: loops, collectives, groups."""
# ruff: noqa: E501

import pytest

from vit_jax.aot.hlo import Collective, by_kind, collectives

PROGRAM = """HloModule jit_step, is_scheduled=true

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  ROOT %r = f32[] add(%a, %b)
}

%inside (p: bf16[8,4]) -> bf16[8,4] {
  %p = bf16[8,4]{1,0} parameter(0)
  %slow = bf16[8,4]{1,0} fusion(%p), calls=%nothing
  ROOT %reduced = bf16[8,4]{1,0} all-reduce(%p), replica_groups=[2,4]<=[8], to_apply=%sum
}

%condition (c: (s32[], f32[16])) -> pred[] {
  %limit = s32[] constant(12)
  %i = s32[] get-tuple-element(%c), index=0
  ROOT %less = pred[] compare(%i, %limit), direction=LT
}

%body (c: (s32[], f32[16])) -> (s32[], f32[16]) {
  %c = (s32[], f32[16]{0}) parameter(0)
  %work = f32[16]{0} fusion(%c), calls=%sum
  %gathered = f32[16]{0:T(8,128)} all-gather(%work), replica_groups=mesh['a'=2,'b'=4] {'b'}, dimensions={0}
  ROOT %t = (s32[], f32[16]{0}) tuple(%c, %work)
}

ENTRY %main (x: f32[16]) -> f32[16] {
  %x = f32[16]{0} parameter(0)
  %once = f32[16]{0} fusion(%x), kind=kLoop, calls=%inside
  %loop = (s32[], f32[16]{0}) while(%once), condition=%condition, body=%body
  %both = (f32[16]{0}, bf16[4]{0}) all-reduce(%x, %once), replica_groups={{0,1},{2,3}}, to_apply=%sum
  %alone = f32[16]{0} all-reduce(%x), replica_groups={{0},{1}}, to_apply=%sum
  ROOT %out = f32[16]{0} get-tuple-element(%loop), index=1
}
"""


def test_collectives_with_their_groups_and_counts():
  found = set(collectives(PROGRAM, 8))
  assert found == {
      Collective("all-gather", 64, 4, 12),
      Collective("all-reduce", 64, 4, 1),  # 8 x 4 bfloat16, in the fusion
      Collective("all-reduce", 64 + 8, 2, 1),  # both together
  }  # and none of a device with itself


@pytest.mark.parametrize(("kind", "sent"), [
    ("all-reduce", 2 * 7 / 8 * 800), ("all-gather", 7 / 8 * 800),
    ("reduce-scatter", 7 * 800), ("all-to-all", 7 / 8 * 800),
    ("collective-permute", 800)])
def test_what_a_ring_sends(kind, sent):
  assert Collective(kind, 800, 8, 3).wire_bytes == pytest.approx(3 * sent)


def test_by_kind_adds_up():
  several = collectives(PROGRAM, 8)
  totals = by_kind(several)
  assert totals["all-gather"]["count"] == 12
  assert sum(t["wire_bytes"] for t in totals.values()) == pytest.approx(
      sum(c.wire_bytes for c in several))

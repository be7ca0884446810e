"""Reading the compiler's final schedule."""

import pytest

from vit_jax.aot import schedule
from vit_jax.aot.operations import Operation
from vit_jax.errors import UserError

EXIT = "%p1 = scmp.ge.s32.totalorder %s8_s13, {} /* loop exit test */"
# One bundle before, 4 x (2 + 3 x 1) in two loops, one amid them, then 5 x 1.
TEXT = "\n".join((
    "LB: loop body", "",
    "     0   :  { %s1 = smov 0 }",
    "   0x1 LB: > { %s2 = sadd.s32 1, %s3 }",
    "   0x2 LB: > > { " + EXIT.format(3) + " }",
    "   0x3   :  { %s4 = smov 1 }",
    "   0x4   : > { " + EXIT.format(4) + "  ;;  %s5 = smov 2 }",
    "   0x5 LB: > { " + EXIT.format(5) + " }",
    "   0x6   :  { %s6 = smov 3 }"))


def test_bundles_times_trips():
  assert schedule.cycles(TEXT) == 1 + 4 * (2 + 3) + 1 + 5 + 1
  assert schedule.cycles("") == 0


def test_files_of_operations_only(tmp_path):
  for name, text in (
      ("17-fusion.3-72-final_bundles.txt", TEXT),
      ("17-fusion.3-71-schedule-analysis_final_bundles.txt", "0 :  { }"),
      ("17-TLP-74-final_bundles.txt", "0 :  { }"),
      ("17-<late-initialization>-70-final_bundles.txt", "0 :  { }"),
      ("17-TLP-hlo.txt", "")):
    (tmp_path / name).write_text(text)
  assert schedule.read_schedule(str(tmp_path)) == {"fusion.3": 28}
  schedule.clear(str(tmp_path))
  with pytest.raises(UserError, match="no final schedule"):
    schedule.read_schedule(str(tmp_path))


def test_equal_operations_are_scheduled_once():
  several = [Operation("a", "dense", 1, 10, 0, "x"),
             Operation("b", "dense", 1, 10, 0, "x"),
             Operation("c", "dense", 1, 20, 0, "x")]
  assert schedule.fill_in({"a": 7}, several) == {"a": 7, "b": 7}

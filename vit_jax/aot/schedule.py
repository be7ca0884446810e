"""Cycles of each operation in a TPU program's final schedule.

libtpu can write the instructions that a core would execute, one bundle a cycle,
with the loops marked. An operation's cycles are the bundles of its loops, as
often as they run. Waiting for HBM is not among them, nor is waiting for a
matrix unit that is still busy (up to 13 % of a pure matrix product was seen),
and a branch counts as if it were always taken. Nothing is executed.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import re

from vit_jax.aot.operations import Operation
from vit_jax.errors import UserError

_FILE = re.compile(r"\d+-(?P<name>.+)-\d+-final_bundles\.txt")
_BUNDLE = re.compile(
    r"\s*(?:0x[0-9a-f]+|0)\s+(?P<mark>L[HBE]|PB|PF|CT)?\s*:\s*"
    r"(?P<depth>(?:> ?)*)\{")
_TRIPS = re.compile(r"totalorder %\w+, (\d+)[^;]*loop exit test")
_EXIT = "loop exit test"


def init_args(folder: str) -> str:
  """Returns what makes libtpu write final schedules into a folder.

  It is read from $LIBTPU_INIT_ARGS when libtpu is loaded.
  """
  return (f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true "
          "--xla_jf_dump_llo_pass_label_regex=final_bundles")


def clear(folder: str) -> None:
  """Removes the files that an earlier program left in a folder."""
  for name in os.listdir(folder):
    path = os.path.join(folder, name)
    if os.path.isfile(path):
      os.remove(path)


def read_schedule(folder: str) -> dict[str, int]:
  """Returns operation -> cycles of one run, of the program dumped last.

  Raises:
    UserError: the folder has no schedule.
  """
  found = {}
  for name in sorted(os.listdir(folder)):
    match = _FILE.fullmatch(name)
    if match is None or match["name"].startswith(("<", "TLP")) or (
        match["name"].endswith("schedule-analysis")):
      continue  # The program around the operations, and remarks.
    with open(os.path.join(folder, name), encoding="utf-8") as file:
      found[match["name"]] = cycles(file.read())
  if not found:
    raise UserError(
        "the TPU compiler wrote no final schedule; leave out --schedule (it "
        "is known to write one in libtpu 0.0.42.1)")
  return found


def fill_in(
    found: Mapping[str, int], operations: Sequence[Operation]
) -> dict[str, int]:
  """Adds operations whose equals were scheduled.

  The compiler schedules several of the same operation once, and names it after
  one of them. Here those are the same that have the same shapes and products.
  """
  by_work = {(x.shapes, x.flops): found[x.name] for x in operations
             if x.name in found}
  return dict(found) | {
      x.name: by_work[x.shapes, x.flops] for x in operations
      if x.name not in found and (x.shapes, x.flops) in by_work}


def cycles(text: str) -> int:
  """Returns the bundles of a final schedule, as often as they run.

  Args:
    text: lines such as "0x3 LB: > {...}", where each ">" is a loop. A loop
      runs as often as the constant in its exit test says, and once where that
      is no constant.
  """
  loops = [_Loop(None)]  # The innermost open ones; the first is the program.
  every = list(loops)
  for line in text.splitlines():
    match = _BUNDLE.match(line)
    if match is None:
      continue
    depth = match["depth"].count(">")
    # A bundle of an outer loop may stand amid an inner one: only a mark tells
    # that another loop begins.
    if match["mark"] == "LB" and depth:
      del loops[depth:]
    while len(loops) <= depth:
      loops.append(_Loop(loops[-1]))
      every.append(loops[-1])
    loops[depth].bundles += 1
    if _EXIT in line:
      loops[depth].runs = max(map(int, _TRIPS.findall(line)), default=1)
  return sum(loop.bundles * loop.all_runs for loop in every)


@dataclasses.dataclass
class _Loop:
  """A loop of a schedule: the one around it, its own bundles, its runs."""

  outer: "_Loop | None"
  bundles: int = 0
  runs: int = 1

  @property
  def all_runs(self) -> int:
    """How often its bundles run in all."""
    return self.runs * (self.outer.all_runs if self.outer else 1)

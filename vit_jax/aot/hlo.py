"""What a compiled TPU program consists of, read off its text.

The TPU compiler writes an estimate of cycles beside each fusion, and XLA's own
sums count the body of a loop once. Here loops count as often as they run.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import math
import re

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all",
               "collective-permute")
BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2,
         "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}

_COMPUTATION = re.compile(r"(?P<entry>ENTRY )?%(?P<name>[\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(
    r"\s+(?:ROOT )?%(?P<name>[\w.-]+) = (?P<type>\(.*?\)|\S+) "
    r"(?P<opcode>[\w-]+)\(")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
# Many operations of 7x carry the largest number there is: no estimate.
_NO_ESTIMATE = 2**62
_CONDITION = re.compile(r"condition=%([\w.-]+)")
_CONSTANT = re.compile(r" constant\((\d+)\)")
_CALLED = re.compile(r"(?:body|condition|calls|to_apply)=%([\w.-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_GROUPS = re.compile(r"replica_groups=(\S.*?)(?:, \w+=|$)")


@dataclasses.dataclass(frozen=True)
class Collective:
  """Traffic between devices of one kind and size.

  Attributes:
    kind: one of COLLECTIVES.
    bytes: of one device's result.
    group: devices that take part together.
    count: times that a step runs it.
  """

  kind: str
  bytes: int
  group: int
  count: int

  @property
  def wire_bytes(self) -> float:
    """Bytes that a device sends in all, on a ring."""
    share = (self.group - 1) / self.group
    if self.kind == "all-reduce":
      factor = 2 * share
    elif self.kind == "reduce-scatter":
      factor = self.group * share
    elif self.kind == "collective-permute":
      factor = 1.0
    else:
      factor = share
    return factor * self.bytes * self.count


@dataclasses.dataclass(frozen=True)
class Summary:
  """A program's sums, of one device and one step.

  Attributes:
    cycles: the compiler's estimates, added up.
    loops: the same with loops counted as often as they run, divided by
      counting them once; 1 where there is no loop.
    unknown: operations to which the compiler gives no estimate, as often as
      they run; they are missing in `cycles`.
    collectives: largest traffic first.
  """

  cycles: int
  loops: float
  unknown: int
  collectives: tuple[Collective, ...]


@dataclasses.dataclass(frozen=True)
class _Instruction:
  type: str
  opcode: str
  line: str


def summarize(text: str, devices: int) -> Summary:
  """Adds up what a compiled program says of itself.

  Args:
    text: `compiled.as_text()`.
    devices: that run it, for collectives that name no groups.
  """
  computations, entry = _parse(text)
  once = cycles = unknown = 0
  seen: dict[tuple[str, int, int], int] = {}
  for instruction, times in _walk(computations, entry, 1):
    found = _CYCLES.search(instruction.line)
    if found and instruction.opcode not in ("while", "call", "conditional"):
      if int(found[1]) >= _NO_ESTIMATE:
        unknown += times
      else:
        once += int(found[1])
        cycles += times * int(found[1])
    kind = instruction.opcode.removesuffix("-start")
    if kind in COLLECTIVES:
      size = _result_bytes(instruction)
      group = _group_size(instruction.line, devices)
      if size and group > 1:
        key = (kind, size, group)
        seen[key] = seen.get(key, 0) + times
  collectives = [Collective(*key, count) for key, count in seen.items()]
  collectives.sort(key=lambda c: -c.wire_bytes)
  return Summary(
      cycles, cycles / once if once else 1.0, unknown, tuple(collectives))


def by_kind(
    collectives: Sequence[Collective]
) -> dict[str, dict[str, float]]:
  """Returns for each kind how often it runs and what a device sends."""
  totals: dict[str, dict[str, float]] = {}
  for one in collectives:
    total = totals.setdefault(one.kind, {"count": 0, "wire_bytes": 0.0})
    total["count"] += one.count
    total["wire_bytes"] += one.wire_bytes
  return totals


def _parse(text: str) -> tuple[dict[str, list[_Instruction]], str]:
  """Returns the instructions of each computation, and the entry's name."""
  computations: dict[str, list[_Instruction]] = {}
  entry, current = "", None
  for line in text.splitlines():
    if not line.startswith(" "):
      head = _COMPUTATION.match(line)
      if head:
        current = computations.setdefault(head["name"], [])
        entry = head["name"] if head["entry"] else entry
      continue
    match = _INSTRUCTION.match(line)
    if match and current is not None:
      current.append(_Instruction(match["type"], match["opcode"], line))
  return computations, entry


def _walk(
    computations: Mapping[str, list[_Instruction]], name: str, times: int
) -> Iterator[tuple[_Instruction, int]]:
  """Yields every instruction that runs, with how often.

  Inside a fusion only collectives are of interest: its cycles stand at it.
  """
  for instruction in computations.get(name, ()):
    yield instruction, times
    line, inner = instruction.line, times
    if instruction.opcode == "while":
      inner = times * _trips(computations, line)
    called = _CALLED.findall(line)
    for branches in _BRANCHES.findall(line):
      called += re.findall(r"%([\w.-]+)", branches)
    for other in called:
      for found, count in _walk(computations, other, inner):
        if instruction.opcode == "fusion":
          kind = found.opcode.removesuffix("-start")
          if kind not in COLLECTIVES:
            continue
          found = dataclasses.replace(found, line=_CYCLES.sub("", found.line))
        yield found, count


def _trips(
    computations: Mapping[str, list[_Instruction]], line: str
) -> int:
  """Returns how often a loop runs: the constant that ends its counter."""
  condition = _CONDITION.search(line)
  bounds = [
      int(found[1]) for i in computations.get(condition[1] if condition else "",
                                              ())
      if (found := _CONSTANT.search(i.line))]
  return max(bounds, default=1) or 1


def _result_bytes(instruction: _Instruction) -> int:
  """Returns the bytes that a collective leaves on a device."""
  sizes = [
      BYTES.get(dtype, 4) * math.prod(int(n) for n in sides.split(",") if n)
      for dtype, sides in _ARRAY.findall(instruction.type)]
  if instruction.opcode.endswith("-start") and len(sizes) > 1:
    # (operands, results, counters): the result is the larger, and no counter.
    return max(sizes)
  return sum(sizes)


def _group_size(line: str, devices: int) -> int:
  """Returns how many devices exchange with each other."""
  match = _GROUPS.search(line)
  if not match:
    return devices if "source_target_pairs" not in line else 2
  groups = match[1]
  axes = re.match(r"mesh\[([^\]]*)\] \{([^}]*)\}", groups)
  if axes:
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", axes[1]))
    return math.prod(int(sizes[a]) for a in re.findall(r"'(\w+)'", axes[2]))
  iota = re.match(r"\[([\d,]+)\]<=", groups)
  if iota:
    return int(iota[1].split(",")[-1])
  listed = re.match(r"\{\{([\d,]*)\}", groups)
  return len(listed[1].split(",")) if listed and listed[1] else devices

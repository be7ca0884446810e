"""Instructions and collectives of a compiled TPU program, from its text.

XLA's own sums count the body of a loop once. Here loops count as often as they
run.
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
_NAME = re.compile(r"%([\w.-]+)")
_CONDITION = re.compile(r"condition=%([\w.-]+)")
_CONSTANT = re.compile(r" constant\((\d+)\)")
_CALLED = re.compile(r"(?:body|condition|calls|to_apply)=%([\w.-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_GROUPS = re.compile(r"replica_groups=(\S.*?)(?:, \w+=|$)")


@dataclasses.dataclass(frozen=True)
class Collective:
  """Traffic of one kind and size between devices.

  Attributes:
    kind: one of COLLECTIVES.
    bytes: of one device's result.
    group: number of devices that exchange data with each other.
    count: how often a step runs it.
  """

  kind: str
  bytes: int
  group: int
  count: int

  @property
  def wire_bytes(self) -> float:
    """Bytes that a device sends in total, on a ring."""
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
class Instruction:
  """One line of a program: its name, type with layout, opcode and text."""

  name: str
  type: str
  opcode: str
  line: str

  @property
  def operands(self) -> tuple[str, ...]:
    """Names of the operands."""
    start = self.line.index(f" {self.opcode}(") + len(self.opcode) + 2
    depth = 1
    for end in range(start, len(self.line)):
      depth += {"(": 1, ")": -1}.get(self.line[end], 0)
      if not depth:
        return tuple(_NAME.findall(self.line[start:end]))
    return ()

  def called(self) -> list[str]:
    """Names of the computations that it runs, a loop's condition aside."""
    names = _CALLED.findall(self.line)
    for branches in _BRANCHES.findall(self.line):
      names += _NAME.findall(branches)
    condition = _CONDITION.search(self.line)
    return [name for name in names if not condition or name != condition[1]]


def collectives(text: str, devices: int) -> tuple[Collective, ...]:
  """Returns the collectives of a compiled program, largest traffic first.

  Args:
    text: `compiled.as_text()`.
    devices: number that run it, for collectives that name no groups.
  """
  computations, entry = parse(text)
  counts: dict[tuple[str, int, int], int] = {}
  for instruction, times in _walk(computations, entry, 1):
    kind = instruction.opcode.removesuffix("-start")
    if kind in COLLECTIVES:
      size = _result_bytes(instruction)
      group = _group_size(instruction.line, devices)
      if size and group > 1:
        key = (kind, size, group)
        counts[key] = counts.get(key, 0) + times
  found = [Collective(*key, count) for key, count in counts.items()]
  return tuple(sorted(found, key=lambda c: -c.wire_bytes))


def by_kind(
    several: Sequence[Collective]
) -> dict[str, dict[str, float]]:
  """Returns kind -> {"count", "wire_bytes"}: runs, and bytes a device sends."""
  totals: dict[str, dict[str, float]] = {}
  for collective in several:
    total = totals.setdefault(
        collective.kind, {"count": 0, "wire_bytes": 0.0})
    total["count"] += collective.count
    total["wire_bytes"] += collective.wire_bytes
  return totals


def parse(text: str) -> tuple[dict[str, list[Instruction]], str]:
  """Returns the instructions of each computation, and the entry's name."""
  computations: dict[str, list[Instruction]] = {}
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
      current.append(Instruction(
          match["name"], match["type"], match["opcode"], line))
  return computations, entry


def _walk(
    computations: Mapping[str, Sequence[Instruction]], name: str, times: int
) -> Iterator[tuple[Instruction, int]]:
  """Yields every instruction that runs, and how often it runs."""
  for instruction in computations.get(name, ()):
    yield instruction, times
    inner = times
    if instruction.opcode == "while":
      inner = times * trips(computations, instruction.line)
    for called in instruction.called():
      yield from _walk(computations, called, inner)


def trips(
    computations: Mapping[str, Sequence[Instruction]], line: str
) -> int:
  """Returns how often a loop runs: the constant that ends its counter."""
  condition = _CONDITION.search(line)
  if condition is None:
    return 1
  matches = [_CONSTANT.search(instruction.line)
             for instruction in computations.get(condition[1], ())]
  bounds = [int(match[1]) for match in matches if match]
  return max(bounds, default=1) or 1


def _result_bytes(instruction: Instruction) -> int:
  """Returns the bytes that a collective leaves on a device."""
  sizes = [
      BYTES.get(dtype, 4) * math.prod(int(n) for n in sides.split(",") if n)
      for dtype, sides in _ARRAY.findall(instruction.type)]
  if instruction.opcode.endswith("-start") and len(sizes) > 1:
    # (operands, results, counters): the largest of them is the result.
    return max(sizes)
  return sum(sizes)


def _group_size(line: str, devices: int) -> int:
  """Returns how many devices exchange data with each other."""
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

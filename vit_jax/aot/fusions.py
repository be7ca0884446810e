"""What a fusion of a compiled TPU program reads and writes in HBM.

Of a large array often only a part: a loop over blocks takes its block out of
the stack of all, and puts a result into another. The compiler hides these
slices in fusions within fusions, which are looked into here.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import re

from vit_jax.aot import hlo
from vit_jax.aot.hlo import Instruction

SLICES = {"slice", "dynamic-slice", "gather"}
_DTYPE = re.compile(r"(\w+)\[")
Program = Mapping[str, Sequence[Instruction]]


@dataclasses.dataclass(frozen=True)
class _Step:
  """An instruction inside of a fusion; operands by their own names."""

  name: str
  opcode: str
  type: str
  operands: tuple[str, ...]


def moved(
    program: Program, fusion: Instruction, sources: Sequence[str],
    in_hbm: Callable[[str], int], padded: Callable[[str], int],
) -> int:
  """Returns the bytes that a fusion reads from and writes to HBM.

  Args:
    program: all computations.
    fusion: the instruction.
    sources: types of its operands.
    in_hbm: from a type to its bytes in HBM.
    padded: from a type to its bytes wherever it lies.
  """
  arguments = tuple(f"operand {i}" for i in range(len(sources)))
  steps, _ = _flat(program, fusion.called()[0], "", arguments)
  types = {step.name: step.type for step in steps} | dict(
      zip(arguments, sources, strict=True))
  total, replaced = 0, 0
  for name, source in zip(arguments, sources, strict=True):
    size = in_hbm(source)
    uses = [step for step in steps if name in step.operands]
    if uses and all(use.opcode in SLICES and use.operands[0] == name
                    for use in uses):
      size = min(size, sum(
          padded(use.type) * _width(source) // _width(use.type)
          for use in uses))
    elif len(uses) == 1 and uses[0].opcode == "dynamic-update-slice" and (
        uses[0].operands[0] == name):
      # It is updated in place: the rest of it is neither read nor written.
      replaced += size - min(size, padded(types[uses[0].operands[1]]))
      size = 0
    total += size
  return total + max(0, in_hbm(fusion.type) - replaced)


def _flat(
    program: Program, computation: str, path: str, arguments: Sequence[str]
) -> tuple[list[_Step], str]:
  """Returns a computation without its inner fusions, and its result's name.

  Args:
    program: all computations.
    computation: the one.
    path: put before the names of its instructions.
    arguments: names of what its parameters are.
  """
  steps: list[_Step] = []
  known: dict[str, str] = {}
  root = ""
  for each in program.get(computation, ()):
    operands = tuple(known.get(name, name) for name in each.operands)
    name = path + each.name
    if each.opcode == "parameter":
      name = arguments[int(each.line.split("parameter(")[1].split(")")[0])]
    elif each.opcode == "bitcast":  # The same bytes by another name.
      name = operands[0]
    elif each.opcode == "fusion":
      inside, name = _flat(program, each.called()[0], f"{name}/", operands)
      steps += inside
    else:
      steps.append(_Step(name, each.opcode, each.type, operands))
    known[each.name] = name
    if not root or each.line.lstrip().startswith("ROOT"):
      root = name
  return steps, root


def _width(type_: str) -> int:
  """Returns the bytes of an element of an array."""
  dtype = _DTYPE.search(type_)
  return hlo.BYTES.get(dtype[1], 4) if dtype else 4

"""What each operation of a compiled TPU program computes and moves.

Only operands and results in the device's main memory (HBM) count: the compiler
places others in fast memory, and marks their layouts S(1); its own sum of
"bytes accessed" counts both. Arrays are as large as they lie there, padded to
their tiles. Arithmetic is that of matrix products, of which only the terms that
are not padding count, and what a Pallas kernel states; vector arithmetic is not
estimated.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import functools
import math
import re

from vit_jax.aot import fusions, hlo
from vit_jax.aot.fusions import Program
from vit_jax.aot.hlo import Instruction

GROUPS = ("attention", "dense", "norms", "patches", "optimiser", "network",
          "transfers", "other")

_TYPE = re.compile(r"(\w+)\[([\d,]*)\](?:\{([\d,]*)(?::([^}]*))?\})?")
_TILE = re.compile(r"T\(([\d,]+)\)")
_SPACE = re.compile(r"S\([1-9]\d*\)")
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_LABELS = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")
_WINDOW = re.compile(r"window=\{([^}]*)\}")
# They name or regroup what is there already.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast",
         "after-all", "partition-id", "replica-id", "opt-barrier", "iota"}
# So do custom calls of these names.
_FREE_CALLS = ('"ConcatBitcast"', '"AllocateBuffer"')
_CONTROL = {"while", "call", "conditional"}
_TRANSFERS = {"copy-start", "slice-start"}
# What a Pallas kernel says about itself: `pl.CostEstimate`.
_KERNEL_FLOPS = re.compile(r'"cost_estimate":\{"flops":"(\d+)"')
_PROJECTION = re.compile(
    r"MultiHeadDotProductAttention_\d+/(query|key|value|out)/")


@dataclasses.dataclass(frozen=True)
class Operation:
  """One operation, of one device and one step.

  Attributes:
    name: in the program.
    group: one of GROUPS.
    times: how often it runs.
    flops: of its matrix products, once.
    bytes: read from and written to HBM, once.
    shapes: types of operands and result, which are the same of operations that
      do the same.
  """

  name: str
  group: str
  times: int
  flops: int
  bytes: int
  shapes: str = ""

  def seconds(self, peak_flops: float, bandwidth: float) -> float:
    """Returns the time that all its runs take at least."""
    return self.times * max(self.flops / peak_flops, self.bytes / bandwidth)


def operations(text: str) -> list[Operation]:
  """Returns the operations of a compiled program, in its order.

  Args:
    text: `compiled.as_text()`.
  """
  program, entry = hlo.parse(text)
  return list(_walk(program, entry, 1))


def _walk(program: Program, name: str, times: int) -> Iterator[Operation]:
  """Yields the operations of a computation that runs so many times."""
  instructions = program.get(name, ())
  types = {x.name: x.type for x in instructions}
  for instruction in instructions:
    opcode = instruction.opcode
    if opcode in _CONTROL:
      inner = times * (hlo.trips(program, instruction.line)
                       if opcode == "while" else 1)
      for called in instruction.called():
        yield from _walk(program, called, inner)
    elif not (opcode in _FREE or opcode.endswith("-done") or any(
        name in instruction.line for name in _FREE_CALLS)):
      sources = [types.get(name, "") for name in instruction.operands]
      yield Operation(
          instruction.name, _group(program, instruction), times,
          _flops(program, instruction, types),
          _moved(program, instruction, types),
          " ".join((opcode, *sources, instruction.type)))


def hbm_bytes(type_: str) -> int:
  """Returns the bytes that a type takes in HBM, 0 for what lies elsewhere.

  Args:
    type_: of an array or a tuple, with layouts, such as
      "bf16[16,577]{1,0:T(8,128)(2,1)}".
  """
  return sum(size for size, in_hbm in _arrays(type_) if in_hbm)


@functools.lru_cache(maxsize=4096)
def _arrays(type_: str) -> tuple[tuple[int, bool], ...]:
  """Returns (padded bytes, whether in HBM) of each array of a type."""
  found = []
  for dtype, sides, order, layout in _TYPE.findall(type_):
    sizes = _numbers(sides)
    tile = _TILE.search(layout)
    if tile and order:
      # The tile lies along the dimensions that vary fastest.
      for side, dimension in zip(
          reversed(_numbers(tile[1])), _numbers(order), strict=False):
        sizes[dimension] = -(-sizes[dimension] // side) * side
    found.append((hlo.BYTES.get(dtype, 4) * math.prod(sizes),
                  not _SPACE.search(layout)))
  return tuple(found)


def _numbers(text: str) -> list[int]:
  return [int(number) for number in text.split(",") if number]


def _moved(
    program: Program, instruction: Instruction, types: Mapping[str, str]
) -> int:
  """Returns the bytes that an operation reads from and writes to HBM."""
  opcode = instruction.opcode
  if opcode in _TRANSFERS:
    # (source, result, counter); a slice has several sources at times.
    (_, reads), (size, writes) = _arrays(instruction.type)[:2]
    moved = min(size, _arrays(instruction.type)[0][0])
    return moved * (int(reads) + int(writes))
  sources = [types.get(name, "") for name in instruction.operands]
  if opcode in fusions.SLICES:
    return 2 * hbm_bytes(instruction.type)
  if opcode == "dynamic-update-slice":
    return 2 * hbm_bytes(sources[1])
  if opcode.endswith("-start"):  # (operands, results): all that is moved.
    return hbm_bytes(instruction.type)
  if opcode != "fusion":
    return hbm_bytes(instruction.type) + sum(map(hbm_bytes, sources))
  return fusions.moved(program, instruction, sources, hbm_bytes, _padded)


def _padded(type_: str) -> int:
  return sum(size for size, _ in _arrays(type_))


def _flops(
    program: Program, instruction: Instruction, types: Mapping[str, str]
) -> int:
  """Returns the FLOPs of the matrix products in an operation, once."""
  if instruction.opcode == "convolution":
    return 2 * _convolution_macs(
        instruction, *(types[name] for name in instruction.operands[:2]))
  if instruction.opcode == "custom-call":
    stated = _KERNEL_FLOPS.search(instruction.line)
    return int(stated[1]) if stated else 0
  if instruction.opcode != "fusion":
    return 0
  total = 0
  for name in instruction.called():
    inside = program.get(name, ())
    inner = {x.name: x.type for x in inside}
    total += sum(_flops(program, x, inner) for x in inside)
  return total


def _convolution_macs(instruction: Instruction, left: str, right: str) -> int:
  """Returns multiply-adds; on TPUs every matrix product is a convolution.

  A batch of products is one with a dilated window, most of whose terms are
  padding: only the terms that meet an element of the input are counted.
  """
  labels = _LABELS.search(instruction.line)
  if labels is None:
    return 0
  sizes = [dict(zip(label, _numbers(_TYPE.findall(type_)[0][1]), strict=True))
           for label, type_ in zip(
               labels.groups(), (left, right, instruction.type), strict=True)]
  inputs, kernel, out = sizes
  window = _WINDOW.search(instruction.line)
  options = dict(x.split("=") for x in window[1].split()) if window else {}
  terms = out["b"] * out["f"] * kernel["i"]
  for axis in range(len(out) - 2):
    terms *= _terms(options, axis, inputs[str(axis)], kernel[str(axis)],
                    out[str(axis)])
  return terms


def _terms(options: Mapping[str, str], axis: int, size: int, kernel: int,
           out: int) -> int:
  """Returns how many (output, kernel) positions meet an element."""
  def option(name: str, default: str) -> str:
    return options[name].split("x")[axis] if name in options else default

  stride, low = int(option("stride", "1")), int(
      option("pad", "0_0").split("_")[0])
  spread, dilation = int(option("lhs_dilate", "1")), int(
      option("rhs_dilate", "1"))
  count = 0
  for position in range(kernel):
    starts = (o * stride - low + position * dilation for o in range(out))
    count += sum(0 <= start < (size - 1) * spread + 1 and start % spread == 0
                 for start in starts)
  return count


def _group(program: Program, instruction: Instruction) -> str:
  """Returns which of GROUPS an operation belongs to, by its name in JAX."""
  opcode = instruction.opcode
  if opcode in _TRANSFERS:
    return "transfers"
  if opcode.removesuffix("-start") in hlo.COLLECTIVES:
    return "network"
  name = _product_name(program, instruction)
  if _PROJECTION.search(name) or "/MlpBlock" in name or "/head/" in name or (
      "/pre_logits/" in name):
    return "dense"
  if "MultiHeadDotProductAttention" in name:
    return "attention"
  if "LayerNorm" in name or "encoder_norm" in name:
    return "norms"
  if "/embedding/" in name:
    return "patches"
  return "other" if "jvp(" in name else "optimiser"


def _product_name(program: Program, instruction: Instruction) -> str:
  """Returns the name in JAX of the product in it, or else its own."""
  own = _OP_NAME.search(instruction.line)
  if instruction.opcode == "fusion":
    for called in instruction.called():
      for inside in program.get(called, ()):
        if inside.opcode == "convolution" or "convolution(" in inside.line:
          name = _OP_NAME.search(inside.line)
          if name:
            return name[1]
  return own[1] if own else ""

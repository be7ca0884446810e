"""What the ViTs of PyTorch's libraries share: shapes, and tables of names.

PyTorch stores dense kernels as (out, in) and convolutions as (out, in, h, w).
Libraries differ in their names, and in whether query, key and value are one
array.
"""

from collections.abc import Mapping
import dataclasses
import re

import numpy as np

from vit_jax.errors import CheckpointError

# Dense layers of ours that a library may keep in one array, in this order.
FUSED = {"qkv": ("query", "key", "value"), "kv": ("key", "value"),
         "glu": ("Gate", "Dense_0")}
_OUR_NUMBERS = re.compile(
    r"(?<=encoderblock_)\d+|(?<=^block)\d+|(?<=/unit)\d+")


@dataclasses.dataclass(frozen=True)
class NameTable:
  """How a library names the parameters.

  "#" stands for the number of a block, stage or unit. A module of ours that
  ends with a key of FUSED stands for the dense layers that it lists. A module
  of theirs that ends with "_" has its arrays named like "in_proj_weight"
  rather than "in_proj.weight".

  Attributes:
    parameters: our name: theirs, of parameters that are not the weight or bias
      of a module.
    modules: our module: theirs. "embedding" must be among them.
    numbers: finds the numbers in the library's names.
    read_only: their module: ours, of names that are read and never written.
  """

  parameters: Mapping[str, str]
  modules: Mapping[str, str]
  numbers: re.Pattern[str]
  read_only: Mapping[str, str] = dataclasses.field(default_factory=dict)

  @property
  def patch_kernel(self) -> str:
    """Returns the library's name of the patch embedding's kernel."""
    return f"{self.modules['embedding']}.weight"

  def encode(
      self, flat: Mapping[str, np.ndarray], library: str
  ) -> dict[str, np.ndarray]:
    """Returns parameters under the library's names and in its shapes.

    Raises:
      CheckpointError: a parameter has no counterpart in `library`.
    """
    arrays: dict[str, np.ndarray] = {}
    parts: dict[str, dict[str, np.ndarray]] = {}
    gated = any("/Gate/" in name for name in flat)
    for name, array in flat.items():
      whole = _rename(name, self.parameters, _OUR_NUMBERS, -1)
      if whole is not None:
        arrays[whole] = array
        continue
      module, _, leaf = name.rpartition("/")
      theirs, is_part = self._encode_module(module, gated)
      if theirs is None:
        raise CheckpointError(
            f"{name} has no counterpart in {library}; write .npz instead")
      joined = theirs if theirs.endswith("_") else f"{theirs}."
      joined += "bias" if leaf == "bias" else "weight"
      array = _to_torch(module, leaf, array)
      if is_part:
        part = module.rpartition("/")[2]
        parts.setdefault(joined, {})[part] = array
      else:
        arrays[joined] = array
    for joined, fused in parts.items():
      arrays[joined] = np.concatenate([
          fused[part] for parts in (FUSED["qkv"], FUSED["glu"])
          for part in parts if part in fused])
    return arrays

  def decode(
      self, arrays: Mapping[str, np.ndarray], num_heads: int, prefix: str = "",
  ) -> dict[str, np.ndarray]:
    """Returns parameters under the model's names, as views.

    Names that are not in the table are left unchanged.

    Args:
      arrays: under the library's names.
      num_heads: attention heads, which no array shows.
      prefix: is removed from names that begin with it.

    Raises:
      ValueError: an array cannot be reshaped to that many heads.
    """
    # One name of theirs may stand for a gated and for a plain layer.
    gated = _is_gated(arrays)
    modules = {**self.read_only, **{
        theirs: ours for ours, theirs in self.modules.items()
        if gated or not ours.endswith("/glu")}}
    parameters = {**self.read_only, **{
        theirs: ours for ours, theirs in self.parameters.items()}}
    flat = {}
    for name, array in arrays.items():
      bare = name.removeprefix(prefix)
      whole = _rename(bare, parameters, self.numbers, 1)
      if whole is not None:
        flat[whole] = array
        continue
      theirs, leaf = _split(bare)
      module = _rename(theirs, modules, self.numbers, 1) if leaf else None
      if module is None:
        flat[name] = array
        continue
      parent, _, last = module.rpartition("/")
      layers = [f"{parent}/{part}" for part in FUSED.get(last, ())] or [module]
      rows = np.split(array, len(layers)) if len(layers) > 1 else [array]
      for layer, values in zip(layers, rows, strict=True):
        our_leaf, value = _from_torch(layer, leaf, values, num_heads)
        flat[f"{layer}/{our_leaf}"] = value
    return flat

  def _encode_module(
      self, module: str, gated: bool
  ) -> tuple[str | None, bool]:
    """Returns their module, and whether it holds several dense layers."""
    parent, _, part = module.rpartition("/")
    for name, parts in FUSED.items():
      if part in parts and (name != "glu" or gated):
        fused = _rename(f"{parent}/{name}", self.modules, _OUR_NUMBERS, -1)
        if fused is not None:
          return fused, True
    return _rename(module, self.modules, _OUR_NUMBERS, -1), False


def _is_gated(arrays: Mapping[str, np.ndarray]) -> bool:
  """Returns whether the first layer of an MLP holds its gate, too."""
  for name, array in arrays.items():
    if name.endswith(("mlp.weights_in.weight", "mlp.gate_proj.weight")):
      return True
    if name.endswith("blocks.0.mlp.fc1.weight"):
      second = arrays.get(name.replace("fc1", "fc2"))
      return second is not None and array.shape[0] == 2 * second.shape[-1]
  return False


def _split(name: str) -> tuple[str, str]:
  """Returns module and leaf of a name; leaf "" if it is of neither kind."""
  for leaf in ("weight", "bias"):
    if name.endswith(f".{leaf}"):
      return name.removesuffix(f".{leaf}"), leaf
    if name.endswith(f"_{leaf}"):
      return name.removesuffix(leaf), leaf
  return name, ""


def _rename(
    module: str, table: Mapping[str, str], numbers: re.Pattern[str], shift: int
) -> str | None:
  """Returns the other side's name of a module, None where it has none.

  Args:
    module: a name with its numbers.
    table: from names of this side to the other's.
    numbers: finds the numbers in names of this side.
    shift: is added to stages and units of a stem, which count from 1 in our
      names and from 0 in PyTorch's.
  """
  key = numbers.sub("#", module)
  new = table.get(key)
  if new is None:
    return None
  shift = shift if key.count("#") == 2 else 0
  for number in numbers.findall(module):
    new = new.replace("#", str(int(number) + shift), 1)
  return new


def _to_torch(module: str, leaf: str, array: np.ndarray) -> np.ndarray:
  """Returns a parameter of our `module` in PyTorch's shape."""
  if leaf != "kernel":
    return array.reshape(-1)
  if array.ndim == 4:
    return array.transpose(3, 2, 0, 1)
  if array.ndim == 3 and module.endswith("/out"):
    array = array.reshape(-1, array.shape[-1])
  return array.reshape(array.shape[0], -1).T


def _from_torch(
    module: str, leaf: str, array: np.ndarray, heads: int
) -> tuple[str, np.ndarray]:
  """Returns our name of a leaf, and the parameter in our shape, as a view."""
  part = module.rpartition("/")[2]
  projects = "MultiHeadDotProductAttention" in module and part != "out"
  if leaf == "bias":
    return leaf, array.reshape(heads, -1) if projects else array
  if array.ndim == 1:
    return "scale", array
  if array.ndim == 4:
    return "kernel", array.transpose(2, 3, 1, 0)
  if projects:
    return "kernel", array.reshape(heads, -1, array.shape[1]).transpose(2, 0, 1)
  if part == "out":
    return "kernel", array.reshape(array.shape[0], heads, -1).transpose(1, 2, 0)
  return "kernel", array.T

"""What timm's and transformers' parameters share: PyTorch's shapes and names.

PyTorch keeps dense kernels as (out, in) and convolutions as (out, in, h, w).
Tables of names are {our module: their module}, "#" standing for a number.
"""

from collections.abc import Mapping
import re

import numpy as np

OUR_NUMBERS = re.compile(r"(?<=encoderblock_)\d+|(?<=^block)\d+|(?<=/unit)\d+")


def rename(
    module: str, table: Mapping[str, str], numbers: re.Pattern, shift: int = 0
) -> str | None:
  """Returns the other side's name of a module, None where it has none.

  Args:
    module: a name with its numbers.
    table: from names of this side to the other's.
    numbers: finds the numbers in names of this side.
    shift: is added to stages and units of a stem, which count from 1 in our
      names.
  """
  key = numbers.sub("#", module)
  new = table.get(key)
  if new is None:
    return None
  shift = shift if key.count("#") == 2 else 0
  for number in numbers.findall(module):
    new = new.replace("#", str(int(number) + shift), 1)
  return new


def to_torch(module: str, leaf: str, array: np.ndarray) -> np.ndarray:
  """Returns a parameter of our `module` in PyTorch's shape."""
  if leaf != "kernel":
    return array.reshape(-1)
  if array.ndim == 4:
    return array.transpose(3, 2, 0, 1)
  if array.ndim == 3 and module.endswith("/out"):
    array = array.reshape(-1, array.shape[-1])
  return array.reshape(array.shape[0], -1).T


def from_torch(
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

"""Parameters as a tree, as flat names, and with their blocks stacked.

Flat names are those of the released files: the keys of the tree joined by
slashes, one entry for each block (Transformer/encoderblock_3/...). A model with
`scan` has its blocks stacked on axis 0 under Transformer/encoderblock/ instead.
"""

from collections.abc import Mapping
import re
from typing import Any

from flax import traverse_util
import numpy as np

STACKED = "Transformer/encoderblock/"
_BLOCK = re.compile(r"Transformer/encoderblock_(\d+)/(.*)")


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
  """Returns {"a/b": leaf} of a tree {"a": {"b": leaf}}."""
  return traverse_util.flatten_dict(dict(tree), sep="/")


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the tree {"a": {"b": leaf}} of {"a/b": leaf}."""
  return traverse_util.unflatten_dict(dict(flat), sep="/")


def unstack_blocks(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns one entry for each block, as views of the stacked arrays."""
  single = {}
  for name, array in flat.items():
    if not name.startswith(STACKED):
      single[name] = array
      continue
    rest = name.removeprefix(STACKED)
    for i, row in enumerate(np.asarray(array)):
      single[f"Transformer/encoderblock_{i}/{rest}"] = row
  return single


def stack_blocks(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the blocks stacked on axis 0, in the order of their numbers."""
  blocks: dict[str, dict[int, np.ndarray]] = {}
  stacked = {}
  for name, array in flat.items():
    match = _BLOCK.fullmatch(name)
    if match:
      blocks.setdefault(match[2], {})[int(match[1])] = array
    else:
      stacked[name] = array
  for rest, arrays in blocks.items():
    stacked[STACKED + rest] = np.stack([arrays[i] for i in sorted(arrays)])
  return stacked

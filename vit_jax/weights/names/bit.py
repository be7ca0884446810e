"""The names of the released BiT files (ResNets), read and written.

In the files everything lies under resnet/, and the head is a 1x1 convolution,
resnet/head/conv2d/kernel of shape (1, 1, c, k); the model has head/kernel of
shape (c, k). All other names are the same. GroupNorm's gamma and beta are read
as (c,) or (1, 1, 1, c).
"""

from collections.abc import Collection, Mapping
import re

import numpy as np

ROOT = "root_block/standardized_conv2d/kernel"
PREFIX = "resnet/"
_HEAD = re.compile(r"head/conv2d/(kernel|bias)")
_NORM = re.compile(r"(.*/)?group_norm/(gamma|beta)")


def matches(names: Collection[str]) -> bool:
  """Returns whether these are names of a BiT ResNet, without the prefix."""
  return ROOT in names


def decode(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns arrays under the model's names, of names without the prefix."""
  decoded = {}
  for name, array in flat.items():
    head = _HEAD.fullmatch(name)
    if head:
      name = f"head/{head[1]}"
      array = array.reshape(array.shape[-2:] if array.ndim == 4 else -1)
    elif _NORM.fullmatch(name):
      array = array.reshape(-1)
    decoded[name] = array
  return decoded


def encode(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns arrays under the released names: decode, the other way."""
  encoded = {}
  for name, array in flat.items():
    if name == "head/kernel":
      name, array = "head/conv2d/kernel", array.reshape(1, 1, *array.shape)
    elif name == "head/bias":
      name = "head/conv2d/bias"
    encoded[PREFIX + name] = array
  return encoded

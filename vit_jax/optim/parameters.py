"""Which parameters are decayed, trained, and at what share of the rate."""

from collections.abc import Sequence
import re
from typing import Any

import jax
import numpy as np

from vit_jax.devices.sharding import path_name
from vit_jax.errors import UsageError

_BLOCK = "Transformer/encoderblock"
# What lies below the blocks; a hybrid's stem has conv_root, gn_root, block1 ...
_EMBEDDED = re.compile(
    r"(cls$|registers$|mask_embedding$|embedding/"
    r"|Transformer/(posembed_input|pre_norm)/|conv_root/|gn_root/|block\d+/)")


def decay_mask(params: Any, decay: str) -> Any:
  """Returns a tree of booleans: which parameters are decayed.

  Args:
    params: the parameters.
    decay: "kernels" (names that end in "kernel") or "all" (every parameter,
      the other reading of the paper).
  """
  return jax.tree_util.tree_map_with_path(
      lambda path, _: decay == "all" or path_name(path).endswith("kernel"),
      params)


def frozen_labels(params: Any, frozen: Sequence[str]) -> Any:
  """Labels each parameter "frozen" or "trained" by regular expressions.

  A pattern is searched in the name, such as "Transformer/.*" or "^embedding".

  Raises:
    UsageError: a pattern matches no parameter.
  """
  names = [path_name(path)
           for path, _ in jax.tree_util.tree_leaves_with_path(params)]
  for pattern in frozen:
    if not any(re.search(pattern, name) for name in names):
      raise UsageError(
          f"optim.frozen: {pattern!r} matches no parameter; names look like "
          f"{names[0]!r}")

  def label(path: Sequence[Any], _: Any) -> str:
    hit = any(re.search(p, path_name(path)) for p in frozen)
    return "frozen" if hit else "trained"

  return jax.tree_util.tree_map_with_path(label, params)


def layer_factors(params: Any, layer_decay: float) -> Any:
  """Returns a tree of factors of the learning rate, one for each parameter.

  Weight decay, which the rate multiplies, is reduced with it. With layers
  numbered from the images up, a parameter of layer i of a model of
  L blocks has the factor layer_decay ** (L + 1 - i) (BEiT, Bao et al. 2021,
  appendix, as in MAE's fine-tuning, He et al. 2021, appendix A.1):

    0        patch and position embeddings, class and mask tokens, ResNet stem
    1 ... L  the blocks
    L + 1    the last LayerNorm, MAP head, hidden layer, head: factor 1

  Args:
    params: of a Vision Transformer or a hybrid, blocks stacked or not.
    layer_decay: above 0, at most 1.

  Returns:
    Floats; of stacked blocks, arrays (L, 1, ...) that fit the parameter.

  Raises:
    UsageError: there are no such blocks.
  """
  named = [(path_name(path), leaf)
           for path, leaf in jax.tree_util.tree_leaves_with_path(params)]
  blocks = [int(match[1]) + 1 for name, _ in named
            if (match := re.match(_BLOCK + r"_(\d+)/", name))]
  # Stacked along depth by model.scan.
  blocks += [leaf.shape[0] for name, leaf in named
             if name.startswith(_BLOCK + "/")]
  if not blocks:
    raise UsageError(
        f"optim.layer_decay={layer_decay} is about the blocks of a Vision "
        "Transformer, which this model does not have; leave it out")
  depth = max(blocks)

  def factor(path: Sequence[Any], leaf: Any) -> Any:
    name = path_name(path)
    if match := re.match(_BLOCK + r"_(\d+)/", name):
      return layer_decay ** (depth - int(match[1]))
    if name.startswith(_BLOCK + "/"):
      factors = layer_decay ** np.arange(depth, 0, -1, dtype=np.float64)
      return factors.astype(np.float32).reshape(
          depth, *[1] * (len(leaf.shape) - 1))
    return layer_decay ** (depth + 1) if _EMBEDDED.match(name) else 1.0

  return jax.tree_util.tree_map_with_path(factor, params)

"""The names and shapes of timm's VisionTransformer, both ways.

PyTorch keeps dense kernels as (out, in), convolutions as (out, in, h, w), and
timm keeps query, key and value in one array. The number of heads is not in
timm's arrays: it comes from a description, or from the width.
"""

from collections.abc import Iterable, Mapping
import re

from absl import logging
import numpy as np

from vit_jax.errors import CheckpointError
from vit_jax.models import variants
from vit_jax.weights.dialects import POSEMB

_ATTENTION = "Transformer/encoderblock_#/MultiHeadDotProductAttention_0"
_POOL = "MAPHead_0/MultiHeadDotProductAttention_0"
_STAGES = "patch_embed.backbone.stages.#.blocks.#"
_ARRAYS = {
    "cls": "cls_token",
    POSEMB: "pos_embed",
    "MAPHead_0/probe": "attn_pool.latent",
}
# Our modules: timm's. "#" stands for a number.
_MODULES = {
    "embedding": "patch_embed.proj",
    "Transformer/encoder_norm": "norm",
    "pre_logits": "pre_logits.fc",
    "head": "head",
    f"{_ATTENTION}/qkv": "blocks.#.attn.qkv",
    f"{_ATTENTION}/out": "blocks.#.attn.proj",
    "Transformer/encoderblock_#/LayerNorm_0": "blocks.#.norm1",
    "Transformer/encoderblock_#/LayerNorm_1": "blocks.#.norm2",
    "Transformer/encoderblock_#/MlpBlock_0/Dense_0": "blocks.#.mlp.fc1",
    "Transformer/encoderblock_#/MlpBlock_0/Dense_1": "blocks.#.mlp.fc2",
    f"{_POOL}/query": "attn_pool.q",
    f"{_POOL}/kv": "attn_pool.kv",
    f"{_POOL}/out": "attn_pool.proj",
    "MAPHead_0/LayerNorm_0": "attn_pool.norm",
    "MAPHead_0/MlpBlock_0/Dense_0": "attn_pool.mlp.fc1",
    "MAPHead_0/MlpBlock_0/Dense_1": "attn_pool.mlp.fc2",
    "conv_root": "patch_embed.backbone.stem.conv",
    "gn_root": "patch_embed.backbone.stem.norm",
    "block#/unit#/conv_proj": f"{_STAGES}.downsample.conv",
    "block#/unit#/gn_proj": f"{_STAGES}.downsample.norm",
} | {f"block#/unit#/conv{i}": f"{_STAGES}.conv{i}" for i in (1, 2, 3)
} | {f"block#/unit#/gn{i}": f"{_STAGES}.norm{i}" for i in (1, 2, 3)}
# A stem without stages has no `stem` in timm's names.
_ROOT = {"conv_root": "patch_embed.backbone.conv",
         "gn_root": "patch_embed.backbone.norm"}
# Dense layers of ours that timm keeps in one array, in this order.
_FUSED = {"qkv": ("query", "key", "value"), "kv": ("key", "value")}

_OUR_NUMBERS = re.compile(r"(?<=encoderblock_)\d+|(?<=^block)\d+|(?<=/unit)\d+")
_TIMM_NUMBERS = re.compile(r"(?<=\bblocks\.)\d+|(?<=\bstages\.)\d+")


def matches(names: Iterable[str]) -> bool:
  """Whether these are the names of a timm VisionTransformer."""
  return "patch_embed.proj.weight" in names


def heads_of_width(width: int, source: str = "weights") -> int:
  """Returns the heads that models of this width have.

  Raises:
    CheckpointError: no named model has this width.
  """
  for size, _, _, heads in variants.SIZES.values():
    if size == width:
      return heads
  raise CheckpointError(
      f"{source}: the number of heads of a model of width {width} is neither "
      "in timm's arrays nor known; say num_heads=, or write it as "
      "architecture.num_heads into the .json beside the file")


def encode(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns parameters under timm's names and in its shapes.

  Args:
    flat: float32, under the model's names, one entry a block. timm's model
      has to be made with the same pooling and with `fc_norm=False`. timm has
      no pre_logits layer any more: it is written as pre_logits.fc.*, which
      timm's loader leaves out.

  Raises:
    CheckpointError: timm has no place for a parameter.
  """
  if "pre_logits/kernel" in flat:
    logging.warning("timm has no pre_logits layer and will leave it out: its "
                    "logits will differ from this model's")
  hybrid = any(name.startswith("block1/") for name in flat)
  table = _MODULES | ({} if hybrid else _ROOT)
  theirs, parts = {}, {}
  for name, array in flat.items():
    if name in _ARRAYS:
      theirs[_ARRAYS[name]] = array
      continue
    module, _, leaf = name.rpartition("/")
    ending = ".bias" if leaf == "bias" else ".weight"
    array = _to_torch(module, leaf, array)
    parent, _, part = module.rpartition("/")
    fused = "kv" if parent == _POOL else "qkv"
    is_part = part in _FUSED[fused]
    new = _rename(
        f"{parent}/{fused}" if is_part else module, table, _OUR_NUMBERS, -1)
    if new is None:
      raise CheckpointError(
          f"{name} has no counterpart in timm's models; write .npz instead")
    if is_part:
      parts.setdefault(new + ending, {})[part] = array
    else:
      theirs[new + ending] = array
  for target, arrays in parts.items():
    theirs[target] = np.concatenate([
        arrays[part] for part in _FUSED["qkv"] if part in arrays])
  return theirs


def decode(
    theirs: Mapping[str, np.ndarray], num_heads: int, source: str = "weights"
) -> dict[str, np.ndarray]:
  """Returns timm's parameters under the model's names, as views.

  Names that timm's plain ViT does not have are left as they are, to be
  reported with all other misfits.

  Raises:
    CheckpointError: the network has a LayerNorm after the pooling (fc_norm).
  """
  if "fc_norm.weight" in theirs:
    raise CheckpointError(
        f"{source}: timm's fc_norm (a LayerNorm after the pooling) is no part "
        "of this package's models; make timm's with fc_norm=False")
  table = {new: old for old, new in (_MODULES | _ROOT).items()}
  table |= {new: old for old, new in _MODULES.items()}
  arrays = {new: old for old, new in _ARRAYS.items()}
  flat = {}
  for name, array in theirs.items():
    if name in arrays:
      flat[arrays[name]] = array
      continue
    module, _, leaf = name.rpartition(".")
    ours = _rename(module, table, _TIMM_NUMBERS, 1)
    if ours is None or leaf not in ("weight", "bias"):
      flat[name] = array
      continue
    parent, _, part = ours.rpartition("/")
    parts = _FUSED.get(part)
    for i, rows in enumerate(np.split(array, len(parts)) if parts else [array]):
      module = f"{parent}/{parts[i]}" if parts else ours
      new_leaf, value = _from_torch(module, leaf, rows, num_heads)
      flat[f"{module}/{new_leaf}"] = value
  return flat


def _rename(
    module: str, table: Mapping[str, str], numbers: re.Pattern, shift: int
) -> str | None:
  """Returns the other side's name of a module, None where it has none."""
  key = numbers.sub("#", module)
  new = table.get(key)
  if new is None:
    return None
  # Stages and units of the stem count from 1 in our names, from 0 in timm's.
  shift = shift if key.count("#") == 2 else 0
  for number in numbers.findall(module):
    new = new.replace("#", str(int(number) + shift), 1)
  return new


def _to_torch(module: str, leaf: str, array: np.ndarray) -> np.ndarray:
  """Returns a parameter in PyTorch's shape."""
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
  """Returns our name of a leaf, and the parameter in our shape."""
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

"""The names and shapes of timm's VisionTransformer, both ways.

timm keeps query, key and value in one array. The number of heads is not in
timm's arrays: it comes from a description, or from the width.
"""

from collections.abc import Iterable, Mapping
import re

from absl import logging
import numpy as np

from vit_jax.errors import CheckpointError
from vit_jax.models.names import SIZES
from vit_jax.weights.names.flax import POSEMB
from vit_jax.weights.names.torch_shapes import (
    OUR_NUMBERS,
    from_torch,
    rename,
    to_torch,
)

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

_STANDARDISED = re.compile(r"(conv_root|block\d+/unit\d+/conv\w+)/kernel")
_TIMM_NUMBERS = re.compile(r"(?<=\bblocks\.)\d+|(?<=\bstages\.)\d+")


def matches(names: Iterable[str]) -> bool:
  """Whether these are the names of a timm VisionTransformer."""
  return "patch_embed.proj.weight" in names


def width(theirs: Mapping[str, np.ndarray]) -> int:
  """Returns the width of the tokens."""
  return theirs["patch_embed.proj.weight"].shape[0]


def heads_of_width(width: int, source: str = "weights") -> int:
  """Returns the heads that models of this width have.

  Raises:
    CheckpointError: no named model has this width.
  """
  for size, _, _, heads in SIZES.values():
    if size == width:
      return heads
  raise CheckpointError(
      f"{source}: the number of heads of a model of width {width} is neither "
      "in the arrays nor known; say num_heads=, or write it as "
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
    array = to_torch(module, leaf, array)
    parent, _, part = module.rpartition("/")
    fused = "kv" if parent == _POOL else "qkv"
    is_part = part in _FUSED[fused]
    new = rename(
        f"{parent}/{fused}" if is_part else module, table, OUR_NUMBERS, -1)
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
    ours = rename(module, table, _TIMM_NUMBERS, 1)
    if ours is None or leaf not in ("weight", "bias"):
      flat[name] = array
      continue
    parent, _, part = ours.rpartition("/")
    parts = _FUSED.get(part)
    for i, rows in enumerate(np.split(array, len(parts)) if parts else [array]):
      module = f"{parent}/{parts[i]}" if parts else ours
      new_leaf, value = from_torch(module, leaf, rows, num_heads)
      flat[f"{module}/{new_leaf}"] = value
  return flat


def for_timms_stem(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns a released hybrid's parameters for timm's epsilons.

  The released stem uses v = (w - mean) / (std + 1e-5) as its kernel, timm
  w' / sqrt(var' + 1e-8). w' = a v gives timm the same kernel v for
  a = 1e-4 / sqrt(1 - r^2), r = std / (std + 1e-5) being the deviation of v.
  GroupNorm's epsilon, 1e-5 in timm and 1e-6 here, cannot be made up for; it
  is small against the variance of what standardised kernels return.
  """
  to_deviation, to_variance = 1e-5, 1e-8
  new = dict(flat)
  for name, array in flat.items():
    if not _STANDARDISED.fullmatch(name):
      continue
    kernel = array.astype(np.float64)
    kernel -= kernel.mean((0, 1, 2))
    deviation = kernel.std((0, 1, 2))
    kernel /= deviation + to_deviation
    rest = to_deviation * (2 * deviation + to_deviation) / (
        deviation + to_deviation) ** 2  # 1 - r^2, without cancellation
    new[name] = (kernel * np.sqrt(to_variance / rest)).astype(np.float32)
  return new

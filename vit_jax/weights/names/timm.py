"""timm's VisionTransformer: names, shapes and numerics.

timm keeps query, key and value in one array. The number of heads is not in
timm's arrays: it comes from a description, or from the width.
"""

from collections.abc import Mapping
import os
import re
from typing import Any

from absl import logging
import numpy as np

from vit_jax.errors import CheckpointError
from vit_jax.weights import posemb_grid
from vit_jax.weights.names import timm_config
from vit_jax.weights.names.codec import RELEASED_NUMERICS, FileConfig
from vit_jax.weights.names.torch_names import NameTable, TorchCodec
from vit_jax.weights.posemb_grid import POSEMB

_ATTENTION = "Transformer/encoderblock_#/MultiHeadDotProductAttention_0"
_POOL = "MAPHead_0/MultiHeadDotProductAttention_0"
_STAGES = "patch_embed.backbone.stages.#.blocks.#"
_PARAMETERS = {
    "cls": "cls_token",
    POSEMB: "pos_embed",
    "MAPHead_0/probe": "attn_pool.latent",
}
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
# What timm calls them where the stem has no stages.
_ROOT = {"patch_embed.backbone.conv": "conv_root",
         "patch_embed.backbone.norm": "gn_root"}
_STANDARDISED = re.compile(r"(conv_root|block\d+/unit\d+/conv\w+)/kernel")


class TimmCodec(TorchCodec):
  """timm's VisionTransformer, made with `fc_norm=False`."""

  name = "timm"
  library = "timm's models"
  unseen = {"gelu": "erf", "ln_eps": 1e-6, "stem_eps": "timm"}
  table = NameTable(
      _PARAMETERS, _MODULES, read_only=_ROOT,
      numbers=re.compile(r"(?<=\bblocks\.)\d+|(?<=\bstages\.)\d+"))

  def read_config(
      self, path: str | os.PathLike, arrays: Mapping[str, np.ndarray]
  ) -> FileConfig:
    """Reads config.json."""
    return timm_config.read_config(path, self.unseen)

  def decode(
      self, arrays: Mapping[str, np.ndarray], config: FileConfig
  ) -> tuple[dict[str, np.ndarray], str]:
    """Decodes; the class token gets a position where timm gives it none."""
    if "fc_norm.weight" in arrays:
      raise CheckpointError(
          f"{config.source}: timm's fc_norm (a LayerNorm after the pooling) is "
          "not part of this package's models; make timm's with fc_norm=False")
    flat, layout = super().decode(arrays, config)
    posemb = flat.get(POSEMB)
    if config.foreign and "cls" in flat and posemb is not None and (
        posemb.ndim == 3 and posemb_grid.lacks_class_row(posemb)):
      # timm's no_embed_class leaves the row of the class token out.
      flat[POSEMB] = posemb_grid.prepend_class_row(posemb)
    return flat, layout

  def encode(
      self, flat: Mapping[str, np.ndarray], architecture: Mapping[str, Any]
  ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Encodes; the kernels of a released stem are changed for timm's epsilons.

    timm has no pre_logits layer any more: it is written as pre_logits.fc.*,
    which timm's loader leaves out.
    """
    architecture = RELEASED_NUMERICS | dict(architecture)
    if "conv_root/kernel" in flat and architecture["stem_eps"] == "released":
      flat, architecture["stem_eps"] = stem_for_timm(flat), "timm"
    if architecture["ln_eps"] != self.unseen["ln_eps"]:
      logging.warning(
          "timm's LayerNorm has eps 1e-6, this model %g: make timm's with "
          "norm_layer=partial(LayerNorm, eps=%g)",
          architecture["ln_eps"], architecture["ln_eps"])
    if "pre_logits/kernel" in flat:
      logging.warning("timm has no pre_logits layer and will leave it out: its "
                      "logits will differ from this model's")
    arrays, architecture = super().encode(flat, architecture)
    if not any(name.startswith("block1/") for name in flat):
      arrays = {name.replace("backbone.stem.", "backbone."): array
                for name, array in arrays.items()}
    return arrays, architecture

  def config_files(
      self, path: str | os.PathLike, description: Mapping[str, Any]
  ) -> dict[str, dict[str, Any]]:
    """Returns config.json, if timm has such a model."""
    return timm_config.config_files(path, description)


CODEC = TimmCodec()


def stem_for_timm(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns a released hybrid's parameters, changed for timm's epsilons.

  The released stem uses v = (w - mean) / (std + 1e-5) as its kernel, timm
  w' / sqrt(var' + 1e-8). w' = a v gives timm the same kernel v for
  a = 1e-4 / sqrt(1 - r^2), where r = std / (std + 1e-5) is the deviation of v.
  GroupNorm's epsilon, 1e-5 in timm and 1e-6 here, cannot be compensated; it
  is small beside the variance of what standardised kernels return.
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

"""timm's VisionTransformer: names, shapes and numerics.

timm keeps query, key and value in one array. The number of heads is not in
timm's arrays: it comes from a description, or from the width.
"""

from collections.abc import Mapping
import math
import os
import re
from typing import Any

from absl import logging
import numpy as np

from vit_jax.errors import CheckpointError
from vit_jax.weights.names import timm_config, timm_dinov3
from vit_jax.weights.names.codec import RELEASED_NUMERICS, FileConfig
from vit_jax.weights.names.torch_codec import (
    TorchCodec,
    complete_biases,
    fold_patch_bias,
)
from vit_jax.weights.names.torch_names import NameTable
from vit_jax.weights.posemb_grid import POSEMB

_ATTENTION = "Transformer/encoderblock_#/MultiHeadDotProductAttention_0"
_POOL = "MAPHead_0/MultiHeadDotProductAttention_0"
_STAGES = "patch_embed.backbone.stages.#.blocks.#"
_PARAMETERS = {
    "cls": "cls_token",
    POSEMB: "pos_embed",
    "MAPHead_0/probe": "attn_pool.latent",
    "registers": "reg_token",
    "dist_token": "dist_token",
    "Transformer/encoderblock_#/LayerScale_0/scale": "blocks.#.ls1.gamma",
    "Transformer/encoderblock_#/LayerScale_1/scale": "blocks.#.ls2.gamma",
}
_MODULES = {
    "embedding": "patch_embed.proj",
    "Transformer/encoder_norm": "norm",
    "pre_logits": "pre_logits.fc",
    "head": "head",
    "head_dist": "head_dist",
    "Transformer/pre_norm": "norm_pre",
    "pooled_norm": "fc_norm",
    f"{_ATTENTION}/qkv": "blocks.#.attn.qkv",
    f"{_ATTENTION}/out": "blocks.#.attn.proj",
    "Transformer/encoderblock_#/LayerNorm_0": "blocks.#.norm1",
    "Transformer/encoderblock_#/LayerNorm_1": "blocks.#.norm2",
    "Transformer/encoderblock_#/MlpBlock_0/Dense_0": "blocks.#.mlp.fc1",
    "Transformer/encoderblock_#/MlpBlock_0/Dense_1": "blocks.#.mlp.fc2",
    "Transformer/encoderblock_#/MlpBlock_0/glu": "blocks.#.mlp.fc1",
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
  """timm's VisionTransformer, and DeiT's with a distillation token."""

  name = "timm"
  library = "timm's models"
  unseen = {"gelu": "erf", "ln_eps": 1e-6, "stem_eps": "timm"}
  posembs = ("1d", "none", timm_dinov3.POSEMB)
  table = NameTable(
      _PARAMETERS, _MODULES, read_only=_ROOT,
      numbers=re.compile(r"(?<=\bblocks\.)\d+|(?<=\bstages\.)\d+"))

  def read_config(
      self, path: str | os.PathLike, arrays: Mapping[str, np.ndarray]
  ) -> FileConfig:
    """Reads config.json."""
    kernel = arrays.get(self.table.patch_kernel)
    width = None if kernel is None else kernel.shape[0]
    unseen = dict(self.unseen)
    if timm_dinov3.matches(arrays):
      unseen |= dict(ln_eps=timm_dinov3.EPS, posemb=timm_dinov3.POSEMB)
    return timm_config.read_config(path, unseen, width)

  def read_names(self, arrays: Mapping[str, np.ndarray]) -> NameTable:
    """Returns the names of DINOv3, or of all other models."""
    return timm_dinov3.TABLE if timm_dinov3.matches(arrays) else self.table

  def written_names(
      self, flat: Mapping[str, np.ndarray], architecture: Mapping[str, Any]
  ) -> NameTable:
    """Returns the names of the model that has these parameters."""
    if architecture.get("posemb") != timm_dinov3.POSEMB:
      return self.table
    gated = any("/Gate/" in name for name in flat)
    return timm_dinov3.GATED if gated else timm_dinov3.TABLE

  def place_tokens(
      self, flat: dict[str, np.ndarray], config: FileConfig
  ) -> dict[str, np.ndarray]:
    """Makes registers of the tokens before the patches that are not pooled."""
    stated = config.architecture
    pooling = stated.get("pooling")
    if "MAPHead_0/probe" in flat:
      pooling = "map"
    elif pooling is None and "pooled_norm/scale" in flat:
      pooling = "gap"  # the only use that timm's models make of fc_norm
    names = ["dist_token", "registers"]
    if pooling in ("gap", "map"):
      names.insert(0, "cls")
    tokens = [flat.pop(name) for name in names if name in flat]
    if tokens:
      flat["registers"] = np.concatenate(tokens, axis=1)
    return complete_biases(flat)

  def resize_method(self, arrays: Mapping[str, np.ndarray]) -> str | None:
    """Returns that of timm's resample_abs_pos_embed."""
    del arrays
    return "bicubic"

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
    pre_norm = "Transformer/pre_norm/scale" in flat
    eps = timm_config.CLIP_EPS if pre_norm else self.unseen["ln_eps"]
    dinov3 = architecture.get("posemb") == timm_dinov3.POSEMB
    if dinov3:
      eps = timm_dinov3.EPS
      timm_dinov3.refuse_others(flat, architecture)
    if architecture["ln_eps"] != eps:
      logging.warning(
          "timm's LayerNorm has eps 1e-%d, this model %g: make timm's with "
          "norm_layer=partial(LayerNorm, eps=%g)", round(-math.log10(eps)),
          architecture["ln_eps"], architecture["ln_eps"])
    flat = _as_timm(flat, pre_norm)
    if "pre_logits/kernel" in flat:
      logging.warning("timm has no pre_logits layer and will leave it out: its "
                      "logits will differ from this model's")
    arrays, architecture = super().encode(flat, architecture)
    if dinov3:
      return timm_dinov3.encoded(arrays), architecture
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


def _as_timm(
    flat: Mapping[str, np.ndarray], pre_norm: bool
) -> Mapping[str, np.ndarray]:
  """Returns parameters of the same network as timm keeps them.

  Raises:
    CheckpointError: timm has no such network.
  """
  if "cls" in flat and "head/kernel" in flat and (
      flat["head/kernel"].shape[0] == 2 * flat["cls"].shape[-1]):
    raise CheckpointError(
        "timm has no head on class token and average together "
        "(pooling='cls_gap'): write hugging_face or .npz instead")
  if pre_norm:
    flat = fold_patch_bias(flat)
  if "head_dist/kernel" not in flat:
    return flat
  if flat["registers"].shape[1] > 1:
    raise CheckpointError(
        "timm has no registers beside a distillation token: write .npz "
        "instead")
  return {"dist_token" if name == "registers" else name: array
          for name, array in flat.items()}


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

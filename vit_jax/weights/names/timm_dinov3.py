"""timm's DINOv3: models of its class Eva, with rotary positions.

Names differ from its VisionTransformer's inside of a block, and queries and
values have biases of their own, keys none.
"""

from collections.abc import Collection, Mapping
import dataclasses
import re
from typing import Any

import numpy as np

from vit_jax.errors import CheckpointError
from vit_jax.weights.names.torch_names import NameTable

POSEMB = "rope2d_unit"
EPS = 1e-5  # of the LayerNorms
# The model that a config.json names; its arguments say the sizes.
MODEL = "vit_small_patch16_dinov3"
_BLOCK = "Transformer/encoderblock_#"
_ATTENTION = f"{_BLOCK}/MultiHeadDotProductAttention_0"
_QKV_BIAS = re.compile(r"(blocks\.\d+\.attn\.)qkv\.bias")

TABLE = NameTable(
    {"cls": "cls_token", "registers": "reg_token",
     f"{_BLOCK}/LayerScale_0/scale": "blocks.#.gamma_1",
     f"{_BLOCK}/LayerScale_1/scale": "blocks.#.gamma_2"},
    {"embedding": "patch_embed.proj", "Transformer/encoder_norm": "norm",
     "head": "head",
     f"{_ATTENTION}/qkv": "blocks.#.attn.qkv",
     f"{_ATTENTION}/out": "blocks.#.attn.proj",
     f"{_BLOCK}/LayerNorm_0": "blocks.#.norm1",
     f"{_BLOCK}/LayerNorm_1": "blocks.#.norm2",
     f"{_BLOCK}/MlpBlock_0/Dense_0": "blocks.#.mlp.fc1",
     f"{_BLOCK}/MlpBlock_0/Dense_1": "blocks.#.mlp.fc2"},
    re.compile(r"(?<=\bblocks\.)\d+"),
    {"blocks.#.attn.q_": f"{_ATTENTION}/query",
     "blocks.#.attn.k_": f"{_ATTENTION}/key",
     "blocks.#.attn.v_": f"{_ATTENTION}/value",
     "blocks.#.mlp.fc1_g": f"{_BLOCK}/MlpBlock_0/Gate",
     "blocks.#.mlp.fc1_x": f"{_BLOCK}/MlpBlock_0/Dense_0"})


GATED = dataclasses.replace(TABLE, modules={
    **TABLE.modules, f"{_BLOCK}/MlpBlock_0/Gate": "blocks.#.mlp.fc1_g",
    f"{_BLOCK}/MlpBlock_0/Dense_0": "blocks.#.mlp.fc1_x"})


def matches(names: Collection[str]) -> bool:
  """Returns whether arrays are those of a DINOv3, by their names."""
  return ("blocks.0.gamma_1" in names and "reg_token" in names
          and "pos_embed" not in names)


def refuse_others(
    flat: Mapping[str, np.ndarray], architecture: Mapping[str, Any]
) -> None:
  """Raises CheckpointError for a network that differs from DINOv3."""
  has = {
      "no layer scale": f"{_BLOCK}/LayerScale_0/scale".replace("#", "0")
                        not in flat,
      "no registers": "registers" not in flat,
      "a MAP head": "MAPHead_0/probe" in flat,
      "a norm before the blocks": "Transformer/pre_norm/scale" in flat,
      "a norm after pooling": "pooled_norm/scale" in flat,
      "a hidden layer": "pre_logits/kernel" in flat,
      "another GELU": not architecture.get("gated") and (
          architecture["gelu"] != "erf")}
  if others := [what for what, there in has.items() if there]:
    raise CheckpointError(
        f"timm's models with posemb={POSEMB} are DINOv3's, this model has "
        f"{', '.join(others)}: write .npz instead")


def encoded(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns arrays with biases of queries and values in arrays of their own.

  Raises:
    CheckpointError: keys have biases that are not zero.
  """
  new: dict[str, np.ndarray] = {}
  for name, array in arrays.items():
    match = _QKV_BIAS.fullmatch(name)
    if not match:
      new[name] = array
      continue
    query, key, value = np.split(array, 3)
    if key.any():
      raise CheckpointError(
          f"{name}: keys of timm's DINOv3 have no bias, this model's have: "
          "write hugging_face or .npz instead")
    new |= {f"{match[1]}q_bias": query, f"{match[1]}v_bias": value}
  return new


def arguments(architecture: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the arguments of timm's Eva, beside those of every model."""
  given: dict[str, Any] = dict(
      class_token=architecture["pooling"] == "cls",
      num_reg_tokens=architecture["registers"],
      qkv_bias=architecture["qkv_bias"])
  if architecture.get("gated"):
    # 0 would keep gate and layer in one array.
    given |= dict(swiglu_mlp=True, swiglu_align_to=1)
  return given

"""transformers' ViT: names, shapes and numerics.

Files use the names of ViTForImageClassification ("vit." before the body) or
of ViTModel (nothing before it). Newer versions of transformers name the parts
of a layer differently in memory; both are read, and the names that every
version understands are written.
"""

from collections.abc import Mapping
import os
import re
from typing import Any

from absl import logging
import numpy as np

from vit_jax.errors import CheckpointError
from vit_jax.weights.names import hugging_face_config
from vit_jax.weights.names.codec import FileConfig
from vit_jax.weights.names.torch_names import (
  NameTable,
  TorchCodec,
  refuse_resnet,
)
from vit_jax.weights.posemb_grid import POSEMB

_BLOCK = "Transformer/encoderblock_#"
_ATTENTION = f"{_BLOCK}/MultiHeadDotProductAttention_0"
_LAYER = "encoder.layer.#"
_PARAMETERS = {
    "cls": "embeddings.cls_token",
    POSEMB: "embeddings.position_embeddings",
}
_MODULES = {
    "embedding": "embeddings.patch_embeddings.projection",
    "Transformer/encoder_norm": "layernorm",
    "pre_logits": "pooler.dense",
    "head": "classifier",
    f"{_ATTENTION}/query": f"{_LAYER}.attention.attention.query",
    f"{_ATTENTION}/key": f"{_LAYER}.attention.attention.key",
    f"{_ATTENTION}/value": f"{_LAYER}.attention.attention.value",
    f"{_ATTENTION}/out": f"{_LAYER}.attention.output.dense",
    f"{_BLOCK}/LayerNorm_0": f"{_LAYER}.layernorm_before",
    f"{_BLOCK}/LayerNorm_1": f"{_LAYER}.layernorm_after",
    f"{_BLOCK}/MlpBlock_0/Dense_0": f"{_LAYER}.intermediate.dense",
    f"{_BLOCK}/MlpBlock_0/Dense_1": f"{_LAYER}.output.dense",
}
# What transformers 5 calls them in memory.
_IN_MEMORY = {
    "layers.#.attention.q_proj": f"{_ATTENTION}/query",
    "layers.#.attention.k_proj": f"{_ATTENTION}/key",
    "layers.#.attention.v_proj": f"{_ATTENTION}/value",
    "layers.#.attention.o_proj": f"{_ATTENTION}/out",
    "layers.#.layernorm_before": f"{_BLOCK}/LayerNorm_0",
    "layers.#.layernorm_after": f"{_BLOCK}/LayerNorm_1",
    "layers.#.mlp.fc1": f"{_BLOCK}/MlpBlock_0/Dense_0",
    "layers.#.mlp.fc2": f"{_BLOCK}/MlpBlock_0/Dense_1",
}
_BODY = "vit."
# Replaces masked patches in pre-training; not part of the network otherwise.
_MASK = "embeddings.mask_token"
_NEEDED = {"cls": "a class token", POSEMB: "a learned position embedding"}


class HuggingFaceCodec(TorchCodec):
  """transformers' ViTForImageClassification and ViTModel."""

  name = "hugging_face"
  library = "transformers' ViT"
  unseen = {"gelu": "erf", "ln_eps": 1e-12}
  prefixes = ("", _BODY)
  table = NameTable(
      _PARAMETERS, _MODULES, read_only=_IN_MEMORY,
      numbers=re.compile(r"(?<=\blayer\.)\d+|(?<=\blayers\.)\d+"))

  def select(self, names: list[str], source: str) -> list[str]:
    """Returns all but the mask token of pre-training."""
    masks = [name for name in names if name in (_MASK, _BODY + _MASK)]
    for name in masks:
      logging.warning("%s: ignored %s, which only masked pre-training uses",
                      source, name)
    return [name for name in names if name not in masks]

  def read_config(
      self, path: str | os.PathLike, arrays: Mapping[str, np.ndarray]
  ) -> FileConfig:
    """Reads config.json and preprocessor_config.json."""
    return hugging_face_config.read_config(path, self.unseen)

  def encode(
      self, flat: Mapping[str, np.ndarray], architecture: Mapping[str, Any]
  ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Encodes for ViTForImageClassification if there is a head, else ViTModel.

    The pooler of ViTModel is our pre_logits. A head of zeros on a pre_logits
    layer, as in the imagenet21k files, is left out with a warning.
    """
    refuse_resnet(flat, self.name)
    flat = _without_zero_head(flat)
    for name, what in _NEEDED.items():
      if name not in flat:
        raise CheckpointError(
            f"transformers' ViT has {what}, this model has none: write timm's "
            "names or .npz instead")
    arrays, architecture = super().encode(flat, architecture)
    if "head/kernel" in flat:
      head = f"{_MODULES['head']}."
      arrays = {name if name.startswith(head) else _BODY + name: array
                for name, array in arrays.items()}
    return arrays, architecture

  def config_files(
      self, path: str | os.PathLike, description: Mapping[str, Any]
  ) -> dict[str, dict[str, Any]]:
    """Returns config.json and preprocessor_config.json."""
    return hugging_face_config.config_files(path, description)


CODEC = HuggingFaceCodec()


def _without_zero_head(
    flat: Mapping[str, np.ndarray]
) -> Mapping[str, np.ndarray]:
  """Returns the parameters with a pre_logits layer or a head, not both."""
  if not {"pre_logits/kernel", "head/kernel"} <= flat.keys():
    return flat
  if flat["head/kernel"].any():
    raise CheckpointError(
        "transformers' ViTForImageClassification has no layer between body and "
        "head, this model has pre_logits there: leave the head out by head="
        "'drop' (--head=drop on the command line), for a ViTModel whose pooler "
        "is pre_logits")
  logging.warning("the head of %d classes, all zeros, was left out: "
                  "transformers has a pooler (pre_logits) or a head",
                  flat["head/kernel"].shape[-1])
  return {n: a for n, a in flat.items() if not n.startswith("head/")}

"""torchvision's VisionTransformer: names, shapes and numerics.

Query, key and value are one array, "in_proj_weight", and the dense layers of
the MLP are the first and fourth of a Sequential; files from before
torchvision 0.12 call them linear_1 and linear_2. A file does not state how its
images are prepared.
"""

from collections.abc import Mapping
import os
import re
from typing import Any

from absl import logging
import numpy as np

from vit_jax.errors import CheckpointError
from vit_jax.weights.names.codec import FileConfig
from vit_jax.weights.names.torch_codec import TorchCodec
from vit_jax.weights.names.torch_names import NameTable
from vit_jax.weights.posemb_grid import POSEMB

_BLOCK = "Transformer/encoderblock_#"
_ATTENTION = f"{_BLOCK}/MultiHeadDotProductAttention_0"
_LAYER = "encoder.layers.encoder_layer_#"
_PARAMETERS = {"cls": "class_token", POSEMB: "encoder.pos_embedding"}
_MODULES = {
    "embedding": "conv_proj",
    "Transformer/encoder_norm": "encoder.ln",
    "pre_logits": "heads.pre_logits",
    "head": "heads.head",
    f"{_ATTENTION}/qkv": f"{_LAYER}.self_attention.in_proj_",
    f"{_ATTENTION}/out": f"{_LAYER}.self_attention.out_proj",
    f"{_BLOCK}/LayerNorm_0": f"{_LAYER}.ln_1",
    f"{_BLOCK}/LayerNorm_1": f"{_LAYER}.ln_2",
    f"{_BLOCK}/MlpBlock_0/Dense_0": f"{_LAYER}.mlp.0",
    f"{_BLOCK}/MlpBlock_0/Dense_1": f"{_LAYER}.mlp.3",
}
_BEFORE_0_12 = {
    f"{_LAYER}.mlp.linear_1": f"{_BLOCK}/MlpBlock_0/Dense_0",
    f"{_LAYER}.mlp.linear_2": f"{_BLOCK}/MlpBlock_0/Dense_1",
}
# Of all its presets; the resize is that of vit_b_16's IMAGENET1K_V1.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PREPROCESS = "pil_crop({size}, 0.875, 'bilinear')"
_NEEDED = {"cls": "a class token", POSEMB: "a learned position embedding"}


class TorchvisionCodec(TorchCodec):
  """torchvision.models.VisionTransformer."""

  name = "torchvision"
  library = "torchvision's VisionTransformer"
  unseen = {"gelu": "erf", "ln_eps": 1e-6}
  table = NameTable(
      _PARAMETERS, _MODULES, read_only=_BEFORE_0_12,
      numbers=re.compile(r"(?<=encoder_layer_)\d+"))

  def read_config(
      self, path: str | os.PathLike, arrays: Mapping[str, np.ndarray]
  ) -> FileConfig:
    """Returns what torchvision's presets share, and notes what is assumed."""
    source = os.fspath(path)
    metadata: dict[str, Any] = {
        "architecture": dict(self.unseen), "preprocess": _PREPROCESS}
    note = (
        "a torchvision file does not state how its images are prepared; "
        f"assuming mean {_MEAN}, std {_STD} and the crop of vit_b_16's "
        f"IMAGENET1K_V1, {_PREPROCESS}: pass preprocess= for another preset")
    return FileConfig(source, source, metadata, mean=_MEAN, std=_STD,
                      foreign=True, notes={"value_range": note})

  def resize_method(self, arrays: Mapping[str, np.ndarray]) -> str | None:
    """Returns that of its interpolate_embeddings."""
    del arrays
    return "torch_bicubic_aligned"

  def encode(
      self, flat: Mapping[str, np.ndarray], architecture: Mapping[str, Any]
  ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Encodes; torchvision cannot compute another GELU than the erf form."""
    for name, what in _NEEDED.items():
      if name not in flat:
        raise CheckpointError(
            f"{self.library} has {what}, this model has none: write timm's "
            "names or .npz instead")
    arrays, architecture = super().encode(flat, architecture)
    for key, value in self.unseen.items():
      if architecture[key] != value:
        logging.warning(
            "%s computes with %s=%s, this model with %s: its logits will "
            "differ a little", self.library, key, value, architecture[key])
    return arrays, architecture


CODEC = TorchvisionCodec()

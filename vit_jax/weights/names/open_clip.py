"""OpenCLIP's image towers, visual.* in open_clip_model.safetensors: read only.

open_clip_config.json beside the file describes both towers and the pictures.
A tower that is a model of timm (visual.trunk.*) is refused by name.
"""

from collections.abc import Mapping
import os
import pathlib
import re
from typing import Any

from absl import logging
import numpy as np

from vit_jax.data import pillow
from vit_jax.errors import CheckpointError, abbreviate
from vit_jax.weights.names import torch_config
from vit_jax.weights.names.codec import FileConfig
from vit_jax.weights.names.torch_codec import TorchCodec
from vit_jax.weights.names.torch_names import NameTable
from vit_jax.weights.posemb_grid import POSEMB

CONFIG = "open_clip_config.json"
_BLOCK = "Transformer/encoderblock_#"
_ATTENTION = f"{_BLOCK}/MultiHeadDotProductAttention_0"
_LAYER = "visual.transformer.resblocks.#"
_HEAD_WIDTH = 64  # where a config names no other
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
# Keys of vision_cfg that the arrays show, are read, or matter in training.
_HARMLESS = {"layers", "width", "patch_size", "image_size", "head_width",
             "mlp_ratio", "patch_dropout", "output_tokens"}
_USUAL = {"pool_type": "tok", "pos_embed_type": "learnable"}


class OpenClipCodec(TorchCodec):
  """The image tower of an OpenCLIP model."""

  name = "open_clip"
  library = "OpenCLIP"
  read_only = True
  unseen = {"gelu": "erf", "ln_eps": 1e-5}
  table = NameTable(
      {"cls": "visual.class_embedding", POSEMB: "visual.positional_embedding",
       "head/kernel": "visual.proj"},
      {"embedding": "visual.conv1", "Transformer/pre_norm": "visual.ln_pre",
       "Transformer/encoder_norm": "visual.ln_post",
       f"{_ATTENTION}/qkv": f"{_LAYER}.attn.in_proj_",
       f"{_ATTENTION}/out": f"{_LAYER}.attn.out_proj",
       f"{_BLOCK}/LayerNorm_0": f"{_LAYER}.ln_1",
       f"{_BLOCK}/LayerNorm_1": f"{_LAYER}.ln_2",
       f"{_BLOCK}/MlpBlock_0/Dense_0": f"{_LAYER}.mlp.c_fc",
       f"{_BLOCK}/MlpBlock_0/Dense_1": f"{_LAYER}.mlp.c_proj"},
      re.compile(r"(?<=resblocks\.)\d+"))

  def select(self, names: list[str], source: str) -> list[str]:
    """Returns the arrays of the image tower."""
    others = [name for name in names if not name.startswith("visual.")]
    if others:
      logging.warning("%s: ignored %s, which another tower uses", source,
                      abbreviate(others))
    return [name for name in names if name.startswith("visual.")]

  def read_config(
      self, path: str | os.PathLike, arrays: Mapping[str, np.ndarray]
  ) -> FileConfig:
    """Reads open_clip_config.json."""
    beside, source = pathlib.Path(path).parent / CONFIG, os.fspath(path)
    settings = torch_config.read_json_object(beside)
    if not settings:
      return FileConfig(
          source, source, {"architecture": dict(self.unseen)}, _MEAN, _STD,
          foreign=True, notes=torch_config.NO_PREPROCESS | {"gelu": (
              f"no {CONFIG} lies beside it: the erf form of GELU is assumed, "
              "as LAION's models have it; those of OpenAI have the quick one, "
              "architecture.gelu in a .json beside the file")})
    try:
      return _described(settings, source, beside, dict(self.unseen), arrays)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
      raise torch_config.malformed(beside, self.name, error) from None

  def place_tokens(
      self, flat: dict[str, np.ndarray], config: FileConfig
  ) -> dict[str, np.ndarray]:
    """Gives tokens our dimensions, and the projection a bias."""
    for name in ("cls", POSEMB):
      if name in flat:
        flat[name] = flat[name].reshape(1, -1, flat[name].shape[-1])
    if "head/kernel" in flat:
      flat["head/bias"] = np.zeros(flat["head/kernel"].shape[-1:], np.float32)
    return flat

  def resize_method(self, arrays: Mapping[str, np.ndarray]) -> str | None:
    """Returns that of its resize_pos_embed."""
    del arrays
    return "bicubic"

  def encode(
      self, flat: Mapping[str, np.ndarray], architecture: Mapping[str, Any]
  ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Raises CheckpointError: its files hold a tower for text, too."""
    raise CheckpointError(
        "OpenCLIP's files hold a tower for text beside that for images: write "
        "timm's or transformers' names instead")


CODEC = OpenClipCodec()


def _described(
    settings: Mapping[str, Any], source: str, path: pathlib.Path,
    architecture: dict[str, Any], arrays: Mapping[str, np.ndarray],
) -> FileConfig:
  """Returns what an open_clip_config.json says of the image tower."""
  model, pictures = settings["model_cfg"], settings.get("preprocess_cfg") or {}
  vision = model["vision_cfg"]
  others = [key for key, value in vision.items()
            if key not in _HARMLESS and value not in (
                None, False, _USUAL.get(key))]
  if others:
    raise CheckpointError(
        f"{path}: vision_cfg.{others[0]}={vision[others[0]]!r}, which this "
        "package's networks do not have")
  if model.get("quick_gelu"):
    architecture["gelu"] = "quick"
  width = arrays["visual.class_embedding"].shape[-1]
  architecture["num_heads"] = width // vision.get("head_width", _HEAD_WIDTH)
  metadata: dict[str, Any] = {"architecture": architecture}
  if "image_size" in vision:
    metadata["image_size"] = torch_config.size_pair(vision["image_size"])
  mode = pictures.get("resize_mode") or "shortest"
  method = pictures.get("interpolation") or "bicubic"
  unprepared = ""
  if mode not in ("shortest", "squash") or method not in pillow.METHODS:
    unprepared = (f"{path}: images are prepared with resize_mode={mode}, "
                  f"interpolation={method}; supported are shortest or squash, "
                  f"and {', '.join(pillow.METHODS)}")
  else:
    squash = ", True" if mode == "squash" else ""
    metadata["preprocess"] = f'pil_crop({{size}}, 1.0, "{method}"{squash})'
  return FileConfig(
      source, os.fspath(path), metadata,
      torch_config.channels(pictures.get("mean") or _MEAN, path),
      torch_config.channels(pictures.get("std") or _STD, path),
      foreign=True, unprepared=unprepared)

"""transformers' ViTs: which model of its a network is, read and written.

`hugging_face_names` has the names, `hugging_face_config` the config files.
"""

from collections.abc import Mapping
import os
import re
from typing import Any

from absl import logging
import numpy as np

from vit_jax.errors import CheckpointError, abbreviate
from vit_jax.weights import posemb_grid
from vit_jax.weights.names import hugging_face_config, hugging_face_names
from vit_jax.weights.names.codec import FileConfig
from vit_jax.weights.names.torch_codec import (
    TorchCodec,
    complete_biases,
    fold_patch_bias,
    missing_biases,
    refuse_resnet,
)
from vit_jax.weights.names.torch_names import NameTable
from vit_jax.weights.posemb_grid import POSEMB

# What lies beside the network in files of pre-training and of towers for text.
_IGNORED = re.compile(
    r"(\w+\.)?embeddings\.(mask_token|position_ids)|(mask_token|position_ids)"
    r"|decoder\..*|text_model\..*|text_projection\..*|logit_(scale|bias)"
    r"|(\w+\.)?embeddings\.position_ids|vision_model\.embeddings\.position_ids")


ROTARY = "rope2d_unit"
_DINOV2 = ("positions", "cls", "layer_scale", "gated", "head", "doubled")
# model_type -> parts that its networks may have, see `kind_of`.
_FEATURES = {
    "vit": ("positions", "cls", "pre_logits", "head"),
    "deit": ("positions", "cls", "pre_logits", "head", "dist"),
    "ijepa": ("positions", "head"),
    "dinov2": _DINOV2, "dinov2_with_registers": _DINOV2,
    "clip_vision_model": ("positions", "cls", "pre_norm", "head"),
    "siglip_vision_model": ("positions", "map"),
    "dinov3_vit": ("cls", "layer_scale", "gated"),
}
_WITH_REGISTERS = ("dinov2_with_registers", "dinov3_vit", "deit")


class HuggingFaceCodec(TorchCodec):
  """transformers' ViT, DeiT, DINOv2 and 3, I-JEPA, CLIP's and SigLIP's towers.

  Reading also understands MSN and MAE, whose names are ViT's.
  """

  name = "hugging_face"
  library = "transformers' ViT"
  unseen = {"gelu": "erf", "ln_eps": 1e-12}
  prefixes = ("", *dict.fromkeys(hugging_face_names.PREFIXES.values()))
  table = hugging_face_names.READ
  patch_kernels = hugging_face_names.PATCH_KERNELS
  posembs = ("1d", ROTARY)

  def select(self, names: list[str], source: str) -> list[str]:
    """Returns all but what only pre-training or another tower has."""
    ignored = [name for name in names if _IGNORED.fullmatch(name)]
    if any(name.startswith("classifier.") for name in names):
      # SigLIP's classifier is on the mean of the patches.
      ignored += [n for n in names if n.startswith("vision_model.head.")]
      if any("pre_layrnorm" in name for name in names):
        raise CheckpointError(
            f"{source}: CLIPForImageClassification averages tokens without the "
            "last LayerNorm that its file has; this package's models do not")
    if ignored:
      logging.warning(
          "%s: ignored %s, which pre-training or another tower uses", source,
          abbreviate(ignored))
    return [name for name in names if name not in set(ignored)]

  def read_config(
      self, path: str | os.PathLike, arrays: Mapping[str, np.ndarray]
  ) -> FileConfig:
    """Reads config.json and preprocessor_config.json."""
    return hugging_face_config.read_config(
        path, hugging_face_names.model_type(arrays))

  def place_tokens(
      self, flat: dict[str, np.ndarray], config: FileConfig
  ) -> dict[str, np.ndarray]:
    """Gives CLIP's arrays our dimensions, and layers without biases zeros."""
    for name, ndim in (("cls", 3), (POSEMB, 3), ("registers", 3)):
      if name in flat and flat[name].ndim < ndim:
        missing = (1,) * (ndim - flat[name].ndim)
        flat[name] = flat[name].reshape(*missing, *flat[name].shape)
    if flat.get("registers", np.zeros((1, 1))).shape[-2] == 0:
      del flat["registers"]
    kernel = flat.get("head/kernel")
    if kernel is not None and "head/bias" not in flat:
      flat["head/bias"] = np.zeros(kernel.shape[-1:], kernel.dtype)
    stated = config.architecture
    return complete_biases(flat) if stated.get("posemb") == ROTARY else flat

  def resize_method(self, arrays: Mapping[str, np.ndarray]) -> str | None:
    """Returns that of interpolate_pos_encoding; one model is antialiased."""
    registers = any("register_tokens" in name for name in arrays)
    return "bicubic" if registers else "torch_bicubic"

  def encode(
      self, flat: Mapping[str, np.ndarray], architecture: Mapping[str, Any]
  ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Encodes for the model of transformers that has these parameters.

    The pooler of ViTModel is our pre_logits. A head of zeros on a pre_logits
    layer, as in the imagenet21k files, is left out with a warning.
    """
    refuse_resnet(flat, self.name)
    flat = _without_zero_head(flat)
    kind = kind_of(flat)
    if kind == "dinov3_vit" and architecture.get("posemb") != ROTARY:
      raise _no_model("a learned position embedding", "this model has none")
    flat = _for_kind(flat, kind)
    arrays, architecture = super().encode(flat, architecture)
    arrays = {name: _in_shape(name, a) for name, a in arrays.items()}
    if kind.startswith("dino"):  # transformers asks for it
      token = flat["cls"] if kind == "dinov3_vit" else flat["cls"][0]
      arrays["embeddings.mask_token"] = np.zeros_like(token)
    if "head/kernel" not in flat:
      return arrays, architecture
    if kind == "deit" and "head_dist/kernel" in flat:
      arrays = {re.sub(r"^classifier\.", "cls_classifier.", name): array
                for name, array in arrays.items()}
    heads = ("classifier.", "cls_classifier.", "distillation_classifier.",
             "visual_projection.")
    prefix = hugging_face_names.PREFIXES[kind]
    return {name if name.startswith(heads) else prefix + name: array
            for name, array in arrays.items()}, architecture

  def written_names(
      self, flat: Mapping[str, np.ndarray], architecture: Mapping[str, Any]
  ) -> NameTable:
    """Returns the names of the model that has these parameters."""
    del architecture
    kind = kind_of(flat)
    if kind.startswith("dinov2") and any("/Gate/" in name for name in flat):
      return hugging_face_names.GATED
    return hugging_face_names.WRITTEN[kind]

  def config_files(
      self, path: str | os.PathLike, description: Mapping[str, Any]
  ) -> dict[str, dict[str, Any]]:
    """Returns config.json and preprocessor_config.json."""
    return hugging_face_config.config_files(path, description)


CODEC = HuggingFaceCodec()


def kind_of(flat: Mapping[str, np.ndarray]) -> str:
  """Returns the model_type of transformers that has these parameters.

  Raises:
    CheckpointError: none has; says what is in the way.
  """
  registers = posemb_grid.num_prefix(flat) - ("cls" in flat)
  block = "Transformer/encoderblock_0"
  has = {
      "positions": POSEMB in flat, "cls": "cls" in flat,
      "map": "MAPHead_0/probe" in flat,
      "pre_norm": "Transformer/pre_norm/scale" in flat,
      "layer_scale": f"{block}/LayerScale_0/scale" in flat,
      "gated": f"{block}/MlpBlock_0/Gate/kernel" in flat,
      "pre_logits": "pre_logits/kernel" in flat,
      "head": "head/kernel" in flat, "dist": "head_dist/kernel" in flat,
      "doubled": "cls" in flat and "head/kernel" in flat and (
          flat["head/kernel"].shape[0] == 2 * flat["cls"].shape[-1])}
  rotary = has["layer_scale"] and not has["positions"]
  if not has["positions"] and not rotary:
    raise _no_model("a learned position embedding", "this model has none")
  if "Transformer/encoder_norm/scale" not in flat:
    raise _no_model("a LayerNorm after the blocks", "this model has none")
  kind = "vit"
  if rotary:
    kind = "dinov3_vit"
  elif has["map"]:
    kind = "siglip_vision_model"
  elif not has["cls"]:
    kind = "ijepa"
  elif has["pre_norm"]:
    kind = "clip_vision_model"
  elif has["layer_scale"]:
    kind = "dinov2_with_registers" if registers else "dinov2"
  elif registers == 1:
    kind = "deit"
  if registers and kind not in _WITH_REGISTERS:
    raise _no_model("no registers in such a model", f"this has {registers}")
  if others := [name for name, there in has.items()
                if there and name not in _FEATURES[kind]]:
    raise CheckpointError(
        f"transformers' {kind} has no {', '.join(others)}, this model has: "
        "write timm's names or .npz instead")
  return kind


def _no_model(theirs: str, ours: str) -> CheckpointError:
  return CheckpointError(
      f"transformers' ViT has {theirs}, {ours}: write timm's names or .npz "
      "instead")


def _for_kind(
    flat: Mapping[str, np.ndarray], kind: str
) -> dict[str, np.ndarray]:
  """Returns parameters of the same network as a kind keeps them."""
  new = dict(flat)
  if kind == "dinov2_with_registers":
    new = posemb_grid.fold_rows(new, keep=1)
  if kind == "clip_vision_model":
    new = fold_patch_bias(new)
    bias = new.pop("head/bias", None)
    if bias is not None and bias.any():
      raise CheckpointError(
          "CLIP's projection has no bias, the head of this model has one: "
          "write timm's names or .npz instead")
  if kind.startswith("dinov2") and "head/kernel" in new:
    # Its classifiers see the class token and the mean of the patches.
    kernel, width = new["head/kernel"], new["cls"].shape[-1]
    if kernel.shape[0] == width:
      new["head/kernel"] = np.concatenate([kernel, np.zeros_like(kernel)])
  if kind in ("clip_vision_model", "siglip_vision_model"):
    new |= missing_biases(new)
  return new


def _in_shape(name: str, array: np.ndarray) -> np.ndarray:
  """Returns an array with the dimensions that CLIP and SigLIP give it."""
  if name.endswith("position_embedding.weight"):
    return array[0]
  if name.endswith("class_embedding"):
    return array.reshape(-1)
  return array


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

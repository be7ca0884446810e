"""config.json of transformers' ViT-like models, as this package writes it."""

from collections.abc import Mapping
from typing import Any

from vit_jax.errors import CheckpointError
from vit_jax.models.posemb import ROPE_TEMPERATURE
from vit_jax.weights.names import torch_config

_ACTIVATIONS = {"erf": "gelu", "tanh": "gelu_pytorch_tanh",
                "quick": "quick_gelu"}
# model_type -> its classes without and with a head.
_CLASSES = {
    "vit": ("ViTModel", "ViTForImageClassification"),
    "deit": ("DeiTModel", "DeiTForImageClassification"),
    "ijepa": ("IJepaModel", "IJepaForImageClassification"),
    "dinov2": ("Dinov2Model", "Dinov2ForImageClassification"),
    "dinov2_with_registers": (
        "Dinov2WithRegistersModel",
        "Dinov2WithRegistersForImageClassification"),
    "clip_vision_model": (
        "CLIPVisionModel", "CLIPVisionModelWithProjection"),
    "siglip_vision_model": ("SiglipVisionModel", ""),
    "dinov3_vit": ("DINOv3ViTModel", ""),
}


def kind_of(arch: Mapping[str, Any]) -> str:
  """Returns the model_type of an architecture that `hugging_face` encoded."""
  if arch.get("posemb") == "rope2d_unit":
    return "dinov3_vit"
  if arch["pooling"] == "map":
    return "siglip_vision_model"
  if arch["pooling"] == "gap":
    return "ijepa"
  if arch.get("pre_norm"):
    return "clip_vision_model"
  if arch.get("layer_scale"):
    return "dinov2_with_registers" if arch.get("registers") else "dinov2"
  return "deit" if arch.get("registers") else "vit"


def model_config(description: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the config.json of transformers for a description."""
  arch = description["architecture"]
  kind, count = kind_of(arch), arch["num_classes"]
  # transformers has either a pooler or a head (see hugging_face).
  has_head = bool(count and not arch["pre_logits"])
  name = _CLASSES[kind][has_head]
  if arch.get("distilled") and has_head:
    name = "DeiTForImageClassificationWithTeacher"
  labels: dict[int, str] = {}
  if has_head and kind != "clip_vision_model":
    labels = dict(enumerate(description.get("class_names") or [
        f"LABEL_{i}" for i in range(count)]))
  config = {
      "architectures": [name], "model_type": kind,
      "hidden_size": arch["width"], "num_hidden_layers": arch["depth"],
      "num_attention_heads": arch["num_heads"],
      "intermediate_size": arch["mlp_dim"],
      "pooler_output_size": arch["pre_logits"] or arch["width"],
      "hidden_act": _ACTIVATIONS[arch["gelu"]],
      "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
      "layer_norm_eps": arch["ln_eps"],
      "qkv_bias": arch["qkv_bias"], "num_channels": 3,
      "image_size": torch_config.side_or_pair(description["image_size"]),
      "patch_size": torch_config.side_or_pair(arch["patch_size"]),
      "dtype": "float32",
      "id2label": {str(i): name for i, name in labels.items()},
      "label2id": {name: i for i, name in labels.items()}}
  if kind == "dinov3_vit":
    config |= _dinov3(arch)
  if kind.startswith("dinov2"):
    config |= _dinov2(arch)
  if kind == "clip_vision_model":
    config |= {"projection_dim": count or arch["width"],
               "attention_dropout": 0.0}
  return config


def _dinov3(arch: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what DINOv3ViTConfig has of its own."""
  config = {f"{name}_bias": arch["qkv_bias"]
            for name in ("query", "key", "value")}
  if arch.get("gated"):
    config["hidden_act"] = "silu"
  return config | {
      "use_gated_mlp": bool(arch.get("gated")),
      "num_register_tokens": arch.get("registers", 0),
      "rope_theta": ROPE_TEMPERATURE, "layerscale_value": 1.0}


def _dinov2(arch: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what Dinov2Config has of its own."""
  # It has no intermediate_size: its SwiGLU rounds 2/3 of the product up to 8.
  width, hidden = arch["width"], arch["mlp_dim"]
  if arch.get("gated"):
    ratio = round(1.5 * hidden / width)
    theirs = (int(width * ratio * 2 / 3) + 7) // 8 * 8
  else:
    ratio = round(hidden / width)
    theirs = width * ratio
  if theirs != hidden:
    raise CheckpointError(
        f"transformers' Dinov2 has an MLP of {theirs} for a width of {width}, "
        f"this model one of {hidden}: write timm's names or .npz instead")
  return {
      "mlp_ratio": ratio,
      "use_swiglu_ffn": bool(arch.get("gated")), "layerscale_value": 1.0,
      "num_register_tokens": arch.get("registers", 0)}

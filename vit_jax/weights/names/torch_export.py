"""Writes the files that transformers and timm want beside their weights."""

from collections.abc import Mapping
import json
import math
import os
import pathlib
from typing import Any

from absl import logging

from vit_jax.data import geometry, pillow
from vit_jax.data.transforms import make_transforms
from vit_jax.errors import UsageError
from vit_jax.weights.formats.raw import atomic_write
from vit_jax.weights.names import torch_config
from vit_jax.weights.names.torch_config import CONFIG, PREPROCESSOR

_HALF = [0.5, 0.5, 0.5]
# timm's models with our stems; what else differs can be said in model_args.
_TIMM_NAMES = {
    None: "vit_base_patch16_224", (): "vit_tiny_r_s16_p8_224",
    (2, 2, 2, 2): "vit_small_r26_s32_224", (3, 4, 9): "vit_base_r50_s16_224",
    (3, 4, 6, 3): "vit_large_r50_s32_224"}


def check_folder(path: str | os.PathLike, world: str) -> bool:
  """Returns whether config.json can be written beside a weights file.

  Raises:
    UsageError: that of something else is in the way, and transformers needs
      it. timm can do without: then it is a warning.
  """
  beside = pathlib.Path(path).parent / CONFIG
  if torch_config.is_ours_to_write(torch_config.read_json(beside)):
    return True
  text = (f"{beside} is the config of something else, and the one of "
          f"{os.fspath(path)} has the same name")
  if world == "hugging_face":
    raise UsageError(f"{text}; give it a folder of its own")
  logging.warning("%s: it was not written, and timm will not open the folder "
                  "by itself", text)
  return False


def write(
    path: str | os.PathLike, world: str, said: Mapping[str, Any]
) -> None:
  """Writes config.json (and preprocessor_config.json) beside a weights file.

  Args:
    path: the .safetensors file that was written.
    world: "hugging_face" or "timm".
    said: the description, with the whole "architecture".

  Raises:
    UsageError: see `check_folder`.
  """
  if not check_folder(path, world):
    return
  folder = pathlib.Path(path).parent
  pictures = _pictures(said)
  if world == "hugging_face":
    _write_json(folder / CONFIG, _hugging_face(said))
    _write_json(folder / PREPROCESSOR, _processor(pictures))
    return
  config = _timm(said, pictures)
  if config:
    _write_json(folder / CONFIG, config)


def _hugging_face(said: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the config.json of transformers' ViT."""
  arch = said["architecture"]
  count = arch["num_classes"]
  # transformers has either a pooler or a head (see hugging_face.encode).
  has_head = count and not arch["pre_logits"]
  names = said.get("class_names") or [f"LABEL_{i}" for i in range(count)]
  labels = dict(enumerate(names)) if has_head else {}
  return {
      "architectures": ["ViTForImageClassification" if has_head
                        else "ViTModel"],
      "model_type": "vit",
      "hidden_size": arch["width"], "num_hidden_layers": arch["depth"],
      "num_attention_heads": arch["num_heads"],
      "intermediate_size": arch["mlp_dim"],
      "pooler_output_size": arch["pre_logits"] or arch["width"],
      "hidden_act": {"erf": "gelu", "tanh": "gelu_pytorch_tanh"}[arch["gelu"]],
      "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
      "layer_norm_eps": arch.get("ln_eps", 1e-6),
      "qkv_bias": arch["qkv_bias"], "num_channels": 3,
      "image_size": _side(said["image_size"]),
      "patch_size": _side(arch["patch_size"]), "dtype": "float32",
      "id2label": {str(i): name for i, name in labels.items()},
      "label2id": {name: i for i, name in labels.items()}}


def _pictures(said: Mapping[str, Any]) -> dict[str, Any]:
  """Returns how pictures are prepared, in words that both worlds know.

  Keys: size [height, width], edge [height, width] resized to before the crop,
  squash (both sides, or the smaller), method, and pct, the fraction by which
  edge was said, or None.
  """
  size = geometry.pair(said["image_size"])
  text = said.get("preprocess") or "resize({size})"
  steps = make_transforms(text, size).steps
  found = dict(size=list(size), edge=list(size), squash=True,
               method="bilinear", pct=None)
  exact = False
  match steps:
    case (pillow.PilResize() as only,):
      found["method"], exact = only.method, True
    case (pillow.PilCrop() as only,):
      found |= dict(squash=only.squash, method=only.method, pct=only.crop_pct,
                    edge=[math.floor(x / only.crop_pct) for x in size])
      exact = True
    case (geometry.ResizeSmall() as first, geometry.CentralCrop()):
      found |= dict(squash=False, edge=[first.size] * 2)
    case (geometry.Resize() as first, geometry.CentralCrop()):
      found["edge"] = list(geometry.pair(first.size))
    case _:
      pass
  if not exact:
    logging.warning(
        "pictures are prepared by %r here; what is written for PyTorch is a "
        "resize of %s to %s with antialiasing, which differs a little", text,
        "both sides" if found["squash"] else "the smaller side",
        "x".join(map(str, found["edge"])))
  return found


def _processor(pictures: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a preprocessor_config.json."""
  height, width = pictures["edge"]
  crops = not pictures["squash"] or pictures["edge"] != pictures["size"]
  size = {"height": height, "width": width}
  if not pictures["squash"]:
    size = {"shortest_edge": min(height, width)}
  found = {
      "image_processor_type": "ViTImageProcessor",
      "do_resize": True, "size": size,
      "resample": int(pillow.METHODS[pictures["method"]]),
      "do_rescale": True, "rescale_factor": 1 / 255,
      "do_normalize": True, "image_mean": _HALF, "image_std": _HALF}
  if crops:
    found |= {"do_center_crop": True, "crop_size": dict(
        zip(("height", "width"), pictures["size"], strict=True))}
  return found


def _timm(
    said: Mapping[str, Any], pictures: Mapping[str, Any]
) -> dict[str, Any] | None:
  """Returns timm's config.json; None, with a warning, for what it has not."""
  arch = said["architecture"]
  stem = None if arch["resnet"] is None else tuple(arch["resnet"])
  if stem not in _TIMM_NAMES or arch["resnet_width"] != 1.0:
    logging.warning("no config.json was written: timm has no model with a "
                    "stem of %s units, %s wide", stem, arch["resnet_width"])
    return None
  size, count = list(said["image_size"]), arch["num_classes"]
  ratio = arch["mlp_dim"] / arch["width"]
  if int(arch["width"] * ratio) != arch["mlp_dim"]:  # timm rounds it down
    ratio = (arch["mlp_dim"] + 0.5) / arch["width"]
  arguments = dict(
      img_size=size, patch_size=_side(arch["patch_size"]),
      embed_dim=arch["width"], depth=arch["depth"],
      num_heads=arch["num_heads"], mlp_ratio=ratio,
      qkv_bias=arch["qkv_bias"], num_classes=count)
  if arch["gelu"] == "tanh":
    arguments["act_layer"] = "gelu_tanh"
  if arch["pooling"] != "cls":
    arguments |= dict(class_token=False, fc_norm=False)
  arguments["global_pool"] = next(
      k for k, v in torch_config.POOLINGS.items() if v == arch["pooling"])
  pct = pictures["pct"] or max(
      a / b for a, b in zip(size, pictures["edge"], strict=True))
  mode = "squash" if pictures["squash"] else "center"
  cfg = dict(
      input_size=[3, *size], num_classes=count, mean=_HALF, std=_HALF,
      crop_pct=pct, crop_mode=mode, interpolation=pictures["method"],
      first_conv="patch_embed.proj", classifier="head", custom_load=False)
  if stem is not None:
    cfg["first_conv"] = f"patch_embed.backbone.{'stem.' * bool(stem)}conv"
  if said.get("class_names"):
    cfg["label_names"] = list(said["class_names"])
  return dict(
      architecture=_TIMM_NAMES[stem], num_classes=count,
      num_features=arch["width"], global_pool=arguments["global_pool"],
      model_args=arguments, pretrained_cfg=cfg)


def _side(size: Any) -> int | list[int]:
  """Returns the side of a square, else [height, width]."""
  height, width = geometry.pair(size)
  return height if height == width else [height, width]


def _write_json(path: pathlib.Path, said: Mapping[str, Any]) -> None:
  with atomic_write(path) as file:
    file.write(json.dumps(said, indent=2, ensure_ascii=False).encode() + b"\n")

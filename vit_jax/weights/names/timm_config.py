"""config.json of timm's models."""

from collections.abc import Mapping
import os
import pathlib
import re
from typing import Any

from absl import logging

from vit_jax.data import pillow
from vit_jax.errors import CheckpointError
from vit_jax.weights.names import torch_config
from vit_jax.weights.names.codec import FileConfig
from vit_jax.weights.names.torch_config import CONFIG, HALF, ResizePlan

# timm's models that use the tanh form of GELU, and those whose activation or
# norm is another one.
_TANH = re.compile(r"vit_(base_patch32_siglip|large_patch16_siglip"
                   r"(_gap)?_512|so400m_patch16_siglip|giantopt_)")
_UNSUPPORTED = re.compile(r"quickgelu|beit3|aimv2|tipsv2")
_POOLINGS = {"token": "cls", "avg": "gap", "map": "map"}
# What timm uses where a config gives no mean or deviation.
_DEFAULT_MEAN = (0.485, 0.456, 0.406)
_DEFAULT_STD = (0.229, 0.224, 0.225)
# timm's models with our stems, by the stem's units; model_args describe the
# other differences.
_MODELS = {
    None: "vit_base_patch16_224", (): "vit_tiny_r_s16_p8_224",
    (2, 2, 2, 2): "vit_small_r26_s32_224", (3, 4, 9): "vit_base_r50_s16_224",
    (3, 4, 6, 3): "vit_large_r50_s32_224"}


def read_config(
    path: str | os.PathLike, unseen: Mapping[str, Any]
) -> FileConfig:
  """Reads the config.json beside a weights file, as `Codec.read_config`.

  Args:
    path: the weights file.
    unseen: what holds where the file is silent.
  """
  beside = pathlib.Path(path).parent / CONFIG
  settings = torch_config.read_json_object(beside)
  metadata: dict[str, Any] = {"architecture": dict(unseen)}
  described_in, mean, std = os.fspath(path), HALF, HALF
  try:
    # A config of something else, such as a training run, has no such text.
    if isinstance(settings.get("architecture"), str):
      described_in = str(beside)
      metadata, mean, std = _read_model(settings, beside, unseen)
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise torch_config.malformed(beside, "timm", error) from None
  torch_config.warn_without_preprocess(path, metadata)
  return FileConfig(
      os.fspath(path), described_in, metadata, mean, std, foreign=True)


def config_files(
    path: str | os.PathLike, description: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
  """Returns config.json for a weights file, as `Codec.config_files`.

  timm can do without it: where one of something else is in the way, or timm
  has no such model, that is logged.
  """
  if not torch_config.is_complete(description):
    return {}
  obstacle = torch_config.foreign_config(path)
  if obstacle:
    logging.warning("%s: it was not written, and timm will not open the folder "
                    "by itself", obstacle)
    return {}
  config = _model_config(
      description, torch_config.make_resize_plan(description))
  return {CONFIG: config} if config else {}


def _read_model(
    settings: Mapping[str, Any], path: pathlib.Path, unseen: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[float, ...], tuple[float, ...]]:
  """Returns keys of model.json, and mean and deviation of the pixels."""
  # Older files have no pretrained_cfg: its keys are at the top.
  pretrained = settings.get("pretrained_cfg", settings)
  arguments = settings.get("model_args") or {}
  metadata: dict[str, Any] = {
      "architecture": _architecture(settings, arguments, path, unseen)}
  input_size = (pretrained.get("input_size") or [])[1:]
  if "img_size" in arguments:
    metadata["image_size"] = torch_config.size_pair(arguments["img_size"])
  elif len(set(input_size)) == 2:
    # The arrays show a square; this may be the size of an earlier checkpoint.
    metadata["image_size"] = torch_config.size_pair(input_size)
  names = (settings.get("label_names") or pretrained.get("label_names")
           or pretrained.get("labels"))
  if isinstance(names, list) and names:
    metadata["class_names"] = names
  if "crop_pct" in pretrained or "interpolation" in pretrained:
    metadata["preprocess"] = _pipeline(pretrained, path)
  return (metadata,
          torch_config.channels(pretrained.get("mean", _DEFAULT_MEAN), path),
          torch_config.channels(pretrained.get("std", _DEFAULT_STD), path))


def _architecture(
    settings: Mapping[str, Any], arguments: Mapping[str, Any],
    path: pathlib.Path, unseen: Mapping[str, Any],
) -> dict[str, Any]:
  """Returns the arguments of the network that a config.json states."""
  name, architecture = settings["architecture"], dict(unseen)
  if _TANH.search(name):
    architecture["gelu"] = "tanh"
  if _UNSUPPORTED.search(name):
    raise CheckpointError(f"{path}: {name} has an activation or norm that this "
                          "package's models do not have")
  if "act_layer" in arguments:
    architecture["gelu"] = torch_config.gelu_form(arguments["act_layer"], path)
  if "num_heads" in arguments:
    architecture["num_heads"] = arguments["num_heads"]
  pool = arguments.get("global_pool", settings.get("global_pool"))
  if pool:
    architecture["pooling"] = _POOLINGS.get(pool, pool)
  return architecture


def _pipeline(pretrained: Mapping[str, Any], path: pathlib.Path) -> str:
  """Returns timm's evaluation as a pipeline; logs what is approximated."""
  pct = pretrained.get("crop_pct") or 0.875
  method = pretrained.get("interpolation") or "bilinear"
  mode = pretrained.get("crop_mode") or "center"
  if pct > 1 or mode not in ("center", "squash") or method not in (
      pillow.METHODS):
    logging.warning(
        "%s: crop_pct=%s, crop_mode=%s, interpolation=%s is approximated: "
        "supported are crop_pct <= 1, center or squash, and %s", path, pct,
        mode, method, ", ".join(pillow.METHODS))
    pct = min(pct, 1.0)
    method = method if method in pillow.METHODS else "bicubic"
  squash = ", True" if mode == "squash" else ""
  return f'pil_crop({{size}}, {float(pct)!r}, "{method}"{squash})'


def _model_config(
    description: Mapping[str, Any], plan: ResizePlan
) -> dict[str, Any] | None:
  """Returns timm's config.json; None, logged, for a stem that timm lacks."""
  arch = description["architecture"]
  stem = None if arch["resnet"] is None else tuple(arch["resnet"])
  if stem not in _MODELS or arch["resnet_width"] != 1.0:
    logging.warning("no config.json was written: timm has no model with a "
                    "stem of %s units, %s wide", stem, arch["resnet_width"])
    return None
  count, arguments = arch["num_classes"], _model_arguments(arch, plan)
  pct = plan.crop_pct or max(
      a / b for a, b in zip(plan.size, plan.edge, strict=True))
  pretrained: dict[str, Any] = dict(
      input_size=[3, *plan.size], num_classes=count, mean=list(HALF),
      std=list(HALF), crop_pct=pct,
      crop_mode="squash" if plan.squash else "center",
      interpolation=plan.method, first_conv=_first_convolution(stem),
      classifier="head", custom_load=False)
  if description.get("class_names"):
    pretrained["label_names"] = list(description["class_names"])
  return dict(
      architecture=_MODELS[stem], num_classes=count,
      num_features=arch["width"], global_pool=arguments["global_pool"],
      model_args=arguments, pretrained_cfg=pretrained)


def _model_arguments(
    arch: Mapping[str, Any], plan: ResizePlan
) -> dict[str, Any]:
  """Returns the arguments of timm's VisionTransformer."""
  ratio = arch["mlp_dim"] / arch["width"]
  if int(arch["width"] * ratio) != arch["mlp_dim"]:  # timm rounds it down
    ratio = (arch["mlp_dim"] + 0.5) / arch["width"]
  arguments: dict[str, Any] = dict(
      img_size=list(plan.size),
      patch_size=torch_config.side_or_pair(arch["patch_size"]),
      embed_dim=arch["width"], depth=arch["depth"],
      num_heads=arch["num_heads"], mlp_ratio=ratio,
      qkv_bias=arch["qkv_bias"], num_classes=arch["num_classes"])
  if arch["gelu"] == "tanh":
    arguments["act_layer"] = "gelu_tanh"
  if arch["pooling"] != "cls":
    arguments |= dict(class_token=False, fc_norm=False)
  arguments["global_pool"] = next(
      theirs for theirs, ours in _POOLINGS.items() if ours == arch["pooling"])
  return arguments


def _first_convolution(stem: tuple[int, ...] | None) -> str:
  """Returns timm's name of the first layer."""
  if stem is None:
    return "patch_embed.proj"
  return ("patch_embed.backbone.stem.conv" if stem
          else "patch_embed.backbone.conv")

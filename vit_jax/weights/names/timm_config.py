"""config.json of timm's models."""

from collections.abc import Mapping
import os
import pathlib
from typing import Any

from absl import logging

from vit_jax.data import pillow
from vit_jax.errors import CheckpointError
from vit_jax.weights.names import timm_dinov3, timm_models, torch_config
from vit_jax.weights.names.codec import FileConfig
from vit_jax.weights.names.torch_config import CONFIG, HALF, ResizePlan

_POOLINGS = {"token": "cls", "avg": "gap", "map": "map"}
CLIP_EPS = 1e-5  # of the LayerNorms of timm's models of CLIP
# What timm uses where a config gives no mean or deviation.
_DEFAULT_MEAN = (0.485, 0.456, 0.406)
_DEFAULT_STD = (0.229, 0.224, 0.225)
# timm's models with our stems, by the stem's units; model_args describe the
# other differences.
_MODELS = {
    None: "vit_base_patch16_224", (): "vit_tiny_r_s16_p8_224",
    (2, 2, 2, 2): "vit_small_r26_s32_224", (3, 4, 9): "vit_base_r50_s16_224",
    (3, 4, 6, 3): "vit_large_r50_s32_224"}


# Models for what is no argument of timm's VisionTransformer in a config.json.
_SPECIAL = {"pre_norm": "vit_base_patch16_clip_224",
            "gated": "vit_giant_patch14_dinov2",
            "distilled": "deit_base_distilled_patch16_224"}
_ACTIVATIONS = {"tanh": "gelu_tanh", "quick": "quick_gelu"}


def read_config(
    path: str | os.PathLike, unseen: Mapping[str, Any],
    width: int | None = None,
) -> FileConfig:
  """Reads the config.json beside a weights file, as `Codec.read_config`.

  Args:
    path: the weights file.
    unseen: what holds where the file is silent.
    width: of the tokens in its arrays.
  """
  beside = pathlib.Path(path).parent / CONFIG
  settings = torch_config.read_json_object(beside)
  source = os.fspath(path)
  # A config of something else, such as a training run, has no such text.
  if not isinstance(settings.get("architecture"), str):
    return FileConfig(
        source, source, {"architecture": dict(unseen)}, foreign=True,
        notes=torch_config.NO_PREPROCESS | {"gelu": (
            "no config.json beside it names timm's model: the erf form of "
            "GELU and LayerNorms with epsilon 1e-6 are assumed, as most of "
            "timm's models have them")})
  try:
    return _read_model(settings, source, beside, unseen, width)
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise torch_config.malformed(beside, "timm", error) from None


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
    settings: Mapping[str, Any], source: str, path: pathlib.Path,
    unseen: Mapping[str, Any], width: int | None,
) -> FileConfig:
  """Returns what a config.json says of the weights file beside it."""
  # Older files have no pretrained_cfg: its keys are at the top.
  pretrained = settings.get("pretrained_cfg", settings)
  arguments = settings.get("model_args") or {}
  architecture, notes = _architecture(
      settings, arguments, path, unseen, width)
  metadata: dict[str, Any] = {"architecture": architecture}
  likely: tuple[tuple[int, int], ...] = ()
  if "img_size" in arguments:
    metadata["image_size"] = torch_config.size_pair(arguments["img_size"])
  elif len(pretrained.get("input_size") or ()) == 3:
    # This may be the size of an earlier checkpoint.
    likely = (tuple(pretrained["input_size"][1:]),)
  names = (settings.get("label_names") or pretrained.get("label_names")
           or pretrained.get("labels"))
  if isinstance(names, list) and names:
    metadata["class_names"] = names
  unprepared = ""
  if "crop_pct" in pretrained or "interpolation" in pretrained:
    text, unprepared = _pipeline(pretrained, path)
    if text:
      metadata["preprocess"] = text
  else:
    notes |= torch_config.NO_PREPROCESS
  return FileConfig(
      source, os.fspath(path), metadata,
      torch_config.channels(pretrained.get("mean", _DEFAULT_MEAN), path),
      torch_config.channels(pretrained.get("std", _DEFAULT_STD), path),
      foreign=True, likely_sizes=likely, notes=notes, unprepared=unprepared)


def _architecture(
    settings: Mapping[str, Any], arguments: Mapping[str, Any],
    path: pathlib.Path, unseen: Mapping[str, Any], width: int | None,
) -> tuple[dict[str, Any], dict[str, str]]:
  """Returns arguments of the network that a config.json states, and notes."""
  name, notes = settings["architecture"], {}
  if why := timm_models.unsupported(name, arguments):
    raise CheckpointError(f"{path}: {why}, which this package's networks do "
                          "not have")
  known = timm_models.facts(name, width)
  if known is None:
    notes["gelu"] = (
        f"{name} is no model of timm that is known here: {unseen['gelu']} GELU "
        f"and epsilon {unseen['ln_eps']:g} are assumed, as most have them")
  architecture = {**unseen, **(known or {})}
  if "act_layer" in arguments:
    architecture["gelu"] = torch_config.gelu_form(arguments["act_layer"], path)
  if "num_heads" in arguments:
    architecture["num_heads"] = arguments["num_heads"]
  pool = arguments.get("global_pool", settings.get("global_pool"))
  if pool:
    architecture["pooling"] = _POOLINGS.get(pool, pool)
  return architecture, notes


def _pipeline(
    pretrained: Mapping[str, Any], path: pathlib.Path
) -> tuple[str, str]:
  """Returns timm's evaluation as a pipeline, or "" and why there is none."""
  pct = pretrained.get("crop_pct") or 0.875
  method = pretrained.get("interpolation") or "bilinear"
  mode = pretrained.get("crop_mode") or "center"
  if pct > 1 or mode not in ("center", "squash") or method not in (
      pillow.METHODS):
    return "", (
        f"{path}: images are prepared with crop_pct={pct}, crop_mode={mode}, "
        f"interpolation={method}; supported are crop_pct <= 1, center or "
        f"squash, and {', '.join(pillow.METHODS)}")
  squash = ", True" if mode == "squash" else ""
  return f'pil_crop({{size}}, {float(pct)!r}, "{method}"{squash})', ""


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
  special = [name for key, name in _SPECIAL.items() if arch.get(key)]
  if arch.get("posemb") == timm_dinov3.POSEMB:
    special = [timm_dinov3.MODEL]
  if len(special) > 1 or (special and stem is not None):
    logging.warning("no config.json was written: timm has no model that "
                    "differs from its ViT as both %s", " and ".join(special))
    return None
  count, arguments = arch["num_classes"], _model_arguments(arch, plan)
  pct = plan.crop_pct or max(
      a / b for a, b in zip(plan.size, plan.edge, strict=True))
  pretrained: dict[str, Any] = dict(
      input_size=[3, *plan.size], num_classes=count, mean=list(HALF),
      std=list(HALF), crop_pct=pct,
      crop_mode="squash" if plan.squash else "center",
      interpolation=plan.method, first_conv=_first_convolution(stem),
      classifier=["head", "head_dist"] if arch.get("distilled") else "head",
      custom_load=False)
  if description.get("class_names"):
    pretrained["label_names"] = list(description["class_names"])
  return dict(
      architecture=special[0] if special else _MODELS[stem], num_classes=count,
      num_features=arch["width"], global_pool=arguments["global_pool"],
      model_args=arguments, pretrained_cfg=pretrained)


def _model_arguments(
    arch: Mapping[str, Any], plan: ResizePlan
) -> dict[str, Any]:
  """Returns the arguments of timm's VisionTransformer."""
  dinov3 = arch.get("posemb") == timm_dinov3.POSEMB
  # A gate lies in the same array, but in DINOv3.
  hidden = arch["mlp_dim"] * (2 if arch.get("gated") and not dinov3 else 1)
  ratio = hidden / arch["width"]
  if int(arch["width"] * ratio) != hidden:  # timm rounds it down
    ratio = (hidden + 0.5) / arch["width"]
  arguments: dict[str, Any] = dict(
      img_size=list(plan.size),
      patch_size=torch_config.side_or_pair(arch["patch_size"]),
      embed_dim=arch["width"], depth=arch["depth"],
      num_heads=arch["num_heads"], mlp_ratio=ratio,
      qkv_bias=arch["qkv_bias"], num_classes=arch["num_classes"])
  arguments["global_pool"] = next(
      theirs for theirs, ours in _POOLINGS.items() if ours == arch["pooling"])
  if dinov3:
    return arguments | timm_dinov3.arguments(arch)
  if arch.get("posemb") == "none":
    arguments["pos_embed"] = "none"
  if arch["gelu"] != "erf" and not arch.get("gated"):
    arguments["act_layer"] = _ACTIVATIONS[arch["gelu"]]
  if arch["pooling"] != "cls":
    arguments |= dict(class_token=False, fc_norm=False)
  if arch.get("final_norm") == "pooled":
    arguments["fc_norm"] = True
  elif arch.get("final_norm") == "none":
    arguments["final_norm"] = False
  if arch.get("registers") and not arch.get("distilled"):
    arguments["reg_tokens"] = arch["registers"]
  if arch.get("layer_scale") or arch.get("gated"):
    arguments["init_values"] = 1e-5 if arch["layer_scale"] else None
  return arguments


def _first_convolution(stem: tuple[int, ...] | None) -> str:
  """Returns timm's name of the first layer."""
  if stem is None:
    return "patch_embed.proj"
  return ("patch_embed.backbone.stem.conv" if stem
          else "patch_embed.backbone.conv")

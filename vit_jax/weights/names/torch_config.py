"""config.json and preprocessor_config.json, as transformers and timm keep them.

They lie beside a .safetensors file and say what its arrays cannot: epsilons,
the form of GELU, the number of heads, names of classes, and how pictures are
prepared. Here they become the keys of `metadata`, and mean and deviation of
the pixels, which `fold.fold` puts into the weights.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import os
import pathlib
import re
from typing import Any

from absl import logging

from vit_jax.data import pillow
from vit_jax.errors import CheckpointError

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
# transformers' and timm's names of what our models call "erf" and "tanh".
GELUS = {"gelu": "erf", "gelu_python": "erf", "gelu_new": "tanh",
         "gelu_pytorch_tanh": "tanh", "gelu_fast": "tanh", "gelu_tanh": "tanh"}
# timm's models that use the tanh form, and those of another activation.
_TIMM_TANH = re.compile(r"vit_(base_patch32_siglip|large_patch16_siglip"
                        r"(_gap)?_512|so400m_patch16_siglip|giantopt_)")
_TIMM_OTHER = re.compile(r"quickgelu|beit3|aimv2|tipsv2")
POOLINGS = {"token": "cls", "avg": "gap", "map": "map"}
# What timm takes where a config says nothing of the pixels.
_TIMM_MEAN, _TIMM_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BY_NUMBER = {int(method): name for name, method in pillow.METHODS.items()}


@dataclasses.dataclass(frozen=True)
class Said:
  """What the files say.

  Attributes:
    path: of the config.json that was read, None if there is none.
    metadata: keys of `metadata`.
    mean, std: of the pixels in 0..1, one a channel.
  """

  path: pathlib.Path | None
  metadata: dict[str, Any]
  mean: tuple[float, ...] = (0.5, 0.5, 0.5)
  std: tuple[float, ...] = (0.5, 0.5, 0.5)


def read(path: str | os.PathLike, world: str) -> Said:
  """Reads what lies beside a weights file.

  Args:
    path: the .safetensors file.
    world: "hugging_face" or "timm", by the names in it.

  Raises:
    CheckpointError: a file is no JSON object, or says something of the network
      or the pixels that this package cannot do.
  """
  folder = pathlib.Path(path).parent
  beside = read_json(folder / CONFIG)
  try:
    if world == "hugging_face":
      said = _hugging_face(folder, beside)
    else:
      said = _timm(folder, beside)
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise CheckpointError(
        f"{folder / CONFIG}: not as {world} writes it ({error!r}); mend it or "
        "move it away") from None
  if "preprocess" not in said.metadata:
    logging.warning(
        "%s: no file beside it says how its pictures were prepared; taking a "
        "plain resize and pixels in [-1, 1] (mean and deviation 0.5)", path)
  return said


def is_ours_to_write(beside: Mapping[str, Any]) -> bool:
  """Whether a config.json is of these two worlds (or empty)."""
  return (not beside or "model_type" in beside or "pretrained_cfg" in beside
          or isinstance(beside.get("architecture"), str))


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """Returns a JSON object, {} where there is no file."""
  try:
    said = json.loads(path.read_text("utf-8"))
  except FileNotFoundError:
    return {}
  except (OSError, ValueError) as error:
    raise CheckpointError(
        f"{path}: cannot be read ({error}); mend it or move it away"
    ) from None
  if not isinstance(said, dict):
    raise CheckpointError(f"{path}: a JSON object was expected, found "
                          f"{type(said).__name__}; mend it or move it away")
  return said


def _hugging_face(folder: pathlib.Path, beside: dict[str, Any]) -> Said:
  """Reads transformers' files; its ViT's defaults where they are silent."""
  if beside.get("model_type") != "vit":
    beside, path = {}, None
  else:
    path = folder / CONFIG
  if beside.get("pooler_act", "tanh") != "tanh":
    raise CheckpointError(f"{path}: pooler_act={beside['pooler_act']!r}; this "
                          "package's models have tanh there")
  architecture = dict(
      gelu=_gelu(beside.get("hidden_act", "gelu"), path),
      ln_eps=float(beside.get("layer_norm_eps", 1e-12)))
  if "num_attention_heads" in beside:
    architecture["num_heads"] = beside["num_attention_heads"]
  said = {"architecture": architecture}
  if "image_size" in beside:
    said["image_size"] = _pair(beside["image_size"])
  names = beside.get("id2label") or {}
  names = [names[i] for i in sorted(names, key=int)]
  if names and names != [f"LABEL_{i}" for i in range(len(names))]:
    said["class_names"] = names
  found = read_json(folder / PREPROCESSOR)
  if not found:
    return Said(path, said)
  said["preprocess"] = _processor(found, folder / PREPROCESSOR)
  mean, std = _pixels(found, folder / PREPROCESSOR)
  return Said(path, said, mean, std)


def _processor(found: Mapping[str, Any], path: pathlib.Path) -> str:
  """Returns a preprocessor_config.json as a pipeline."""
  if not found.get("do_resize", True):
    return "central_crop({size})" if found.get("do_center_crop") else ""
  size = found.get("size", 224)
  number = found.get("resample", 2)
  method = _BY_NUMBER.get(number)
  if method is None:
    raise CheckpointError(f"{path}: resample={number!r} is unknown")
  if isinstance(size, Mapping) and "shortest_edge" in size:
    edge = size["shortest_edge"]
    crop = _pair(found.get("crop_size", edge))
    if found.get("do_center_crop") and crop[0] == crop[1] <= edge:
      return _crop(crop[0], edge, method, path)
    raise CheckpointError(f"{path}: size={size!r} without a square crop leaves "
                          "pictures of any size, which a ViT cannot take")
  return f'pil_resize({{size}}, "{method}")'


def _crop(size: int, edge: int, method: str, path: pathlib.Path) -> str:
  """Returns the pipeline of a resize to `edge` and a crop to `size`."""
  pct = size / edge
  if int(size / pct) != edge:
    logging.warning("%s: a resize to %d before the crop to %d is approximated "
                    "by one to %d", path, edge, size, int(size / pct))
  return f'pil_crop({{size}}, {pct!r}, "{method}")'


def _pixels(
    found: Mapping[str, Any], path: pathlib.Path
) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Returns mean and deviation of pixels in 0..1."""
  factor = found.get("rescale_factor", 1 / 255)
  if not found.get("do_rescale", True) or abs(factor * 255 - 1) > 1e-6:
    raise CheckpointError(
        f"{path}: pixels are not rescaled by 1/255 (do_rescale="
        f"{found.get('do_rescale', True)}, rescale_factor={factor}); this "
        "package knows no other scale")
  if not found.get("do_normalize", True):
    return (0.0,) * 3, (1.0,) * 3
  return (_channels(found.get("image_mean", 0.5), path),
          _channels(found.get("image_std", 0.5), path))


def _timm(folder: pathlib.Path, beside: dict[str, Any]) -> Said:
  """Reads timm's config.json; its models' defaults where it is silent."""
  architecture = {"gelu": "erf", "ln_eps": 1e-6, "stem_eps": "timm"}
  name = beside.get("architecture")
  if not isinstance(name, str):
    return Said(None, {"architecture": architecture})
  path = folder / CONFIG
  # Older files have no pretrained_cfg: its keys are at the top.
  found = beside.get("pretrained_cfg", beside)
  arguments = beside.get("model_args") or {}
  if _TIMM_TANH.search(name):
    architecture["gelu"] = "tanh"
  if _TIMM_OTHER.search(name):
    raise CheckpointError(f"{path}: {name} has an activation or norm that this "
                          "package's models have not")
  if "act_layer" in arguments:
    architecture["gelu"] = _gelu(arguments["act_layer"], path)
  if "num_heads" in arguments:
    architecture["num_heads"] = arguments["num_heads"]
  pool = arguments.get("global_pool", beside.get("global_pool"))
  if pool:
    architecture["pooling"] = POOLINGS.get(pool, pool)
  said = {"architecture": architecture}
  pixels = (found.get("input_size") or [])[1:]
  if "img_size" in arguments:
    said["image_size"] = _pair(arguments["img_size"])
  elif len(set(pixels)) == 2:
    # A square is seen by the arrays; this may be of an earlier checkpoint.
    said["image_size"] = _pair(pixels)
  names = (beside.get("label_names") or found.get("label_names")
           or found.get("labels"))
  if isinstance(names, list) and names:
    said["class_names"] = names
  if "crop_pct" in found or "interpolation" in found:
    said["preprocess"] = _timm_pictures(found, path)
  return Said(path, said, _channels(found.get("mean", _TIMM_MEAN), path),
              _channels(found.get("std", _TIMM_STD), path))


def _timm_pictures(found: Mapping[str, Any], path: pathlib.Path) -> str:
  """Returns timm's evaluation as a pipeline; says what is approximated."""
  pct = found.get("crop_pct") or 0.875
  method = found.get("interpolation") or "bilinear"
  mode = found.get("crop_mode") or "center"
  if pct > 1 or mode not in ("center", "squash") or method not in (
      pillow.METHODS):
    logging.warning(
        "%s: crop_pct=%s, crop_mode=%s, interpolation=%s is approximated: "
        "what is possible is crop_pct <= 1, center or squash, and %s", path,
        pct, mode, method, ", ".join(pillow.METHODS))
    pct, method = min(pct, 1.0), (
        method if method in pillow.METHODS else "bicubic")
  squash = ", True" if mode == "squash" else ""
  return f'pil_crop({{size}}, {float(pct)!r}, "{method}"{squash})'


def _gelu(name: Any, path: pathlib.Path | None) -> str:
  """Returns our name of an activation."""
  if name not in GELUS:
    raise CheckpointError(
        f"{path}: the activation {name!r} is none of this package's models; "
        f"one of {', '.join(GELUS)} was expected")
  return GELUS[name]


def _channels(value: Any, path: pathlib.Path) -> tuple[float, ...]:
  """Returns one number a channel."""
  values = value if isinstance(value, Sequence) else [value] * 3
  if len(values) != 3:
    raise CheckpointError(f"{path}: mean or deviation {value!r}; one number "
                          "for each of three channels was expected")
  return tuple(float(x) for x in values)


def _pair(size: Any) -> list[int]:
  """Returns [height, width] of a side, a pair, or {"height", "width"}."""
  if isinstance(size, Mapping):
    return [int(size["height"]), int(size["width"])]
  if isinstance(size, int):
    return [size, size]
  height, width = size
  return [int(height), int(width)]

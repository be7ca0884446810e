"""preprocessor_config.json of transformers' processors of images.

What a file leaves out has the default of its processor, and a size that is one
number means both sides to some processors and the smaller one to others.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
import re
from typing import Any

from vit_jax.data import pillow
from vit_jax.errors import CheckpointError, suggest
from vit_jax.weights.names import torch_config
from vit_jax.weights.names.torch_config import HALF, ResizePlan

_METHODS = {int(method): name for name, method in pillow.METHODS.items()}
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_OPENAI = ((0.48145466, 0.4578275, 0.40821073),
           (0.26862954, 0.26130258, 0.27577711))
_NAME = re.compile(r"(\w+?)(?:ImageProcessor|FeatureExtractor)(?:Fast|Pil)?")


@dataclasses.dataclass(frozen=True)
class _Kind:
  """The defaults of one processor.

  Attributes:
    size: of the resize, as the file would have it.
    crop: side of the crop in the middle, 0 for none.
    resample: number of the interpolation.
    shortest: whether a size that is one number is that of the smaller side.
    mean, std: of pixels in 0..1.
  """

  size: Any
  crop: int
  resample: int
  shortest: bool
  mean: tuple[float, ...] = HALF
  std: tuple[float, ...] = HALF


_KINDS = {
    "ViT": _Kind(224, 0, 2, False),
    "DeiT": _Kind(256, 224, 3, False, *_IMAGENET),
    "CLIP": _Kind({"shortest_edge": 224}, 224, 3, True, *_OPENAI),
    "Bit": _Kind({"shortest_edge": 224}, 224, 3, True, *_OPENAI),
    "Siglip": _Kind({"height": 224, "width": 224}, 0, 3, True),
}
# The processor of a model_type, where the file does not name its own.
_OF_MODEL = {"deit": "DeiT", "clip": "CLIP", "clip_vision_model": "CLIP",
             "dinov2": "Bit", "dinov2_with_registers": "Bit",
             "siglip": "Siglip", "siglip_vision_model": "Siglip",
             "dinov3_vit": "DINOv3ViT"}
# Of processors that cannot be followed, where the file is silent.
_UNKNOWN = _Kind(0, 0, 0, False, *_IMAGENET)


def read_processor(
    settings: Mapping[str, Any], path: pathlib.Path, model_type: str | None
) -> dict[str, Any]:
  """Returns fields of FileConfig: metadata, mean, std and unprepared.

  Args:
    settings: the content of preprocessor_config.json.
    path: where it was read from.
    model_type: of the config.json beside it.

  Raises:
    CheckpointError: pixels have another scale, which the weights depend on.
  """
  name = settings.get("image_processor_type",
                      settings.get("feature_extractor_type"))
  match = _NAME.fullmatch(name) if name else None
  key = match[1] if match else _OF_MODEL.get(model_type or "", "ViT")
  if (name and match is None) or key not in _KINDS:
    mean, std = _pixel_statistics(settings, _UNKNOWN, path)
    return {"metadata": {}, "mean": mean, "std": std, "unprepared": (
        f"{path}: images are prepared by {name or key}{suggest(key, _KINDS)}, "
        f"which is none of the processors known here ({', '.join(_KINDS)})")}
  kind = _KINDS[key]
  mean, std = _pixel_statistics(settings, kind, path)
  fields: dict[str, Any] = {"metadata": {}, "mean": mean, "std": std}
  try:
    fields["metadata"]["preprocess"] = _pipeline(settings, kind)
  except _UnpreparedError as error:
    fields["unprepared"] = f"{path}: {error}"
  return fields


def processor_config(plan: ResizePlan) -> dict[str, Any]:
  """Returns a preprocessor_config.json."""
  height, width = plan.edge
  size = {"height": height, "width": width}
  if not plan.squash:
    size = {"shortest_edge": min(height, width)}
  config: dict[str, Any] = {
      "image_processor_type": "ViTImageProcessor",
      "do_resize": True, "size": size,
      "resample": int(pillow.METHODS[plan.method]),
      "do_rescale": True, "rescale_factor": 1 / 255,
      "do_normalize": True, "image_mean": list(HALF), "image_std": list(HALF)}
  if not plan.squash or plan.edge != plan.size:
    height, width = plan.size
    config |= {"do_center_crop": True,
               "crop_size": {"height": height, "width": width}}
  return config


class _UnpreparedError(Exception):
  """Says why images cannot be prepared as a processor does."""


def _pipeline(settings: Mapping[str, Any], kind: _Kind) -> str:
  """Returns a preprocessor_config.json as an evaluation pipeline."""
  crops = settings.get("do_center_crop", kind.crop > 0)
  if settings.get("do_pad"):
    raise _UnpreparedError("do_pad=True, pictures with a margin")
  if not settings.get("do_resize", True):
    return "central_crop({size})" if crops else ""
  number = settings.get("resample", kind.resample)
  method = _METHODS.get(number)
  if method is None:
    raise _UnpreparedError(f"resample={number!r} is unknown")
  size = settings.get("size", kind.size)
  if isinstance(size, Mapping):
    if not ({"shortest_edge"} == set(size) or {"height", "width"} == set(size)):
      raise _UnpreparedError(f"size={dict(size)!r} is unknown")
    shortest = "shortest_edge" in size
    edge = size["shortest_edge"] if shortest else torch_config.size_pair(size)
  else:
    shortest, edge = kind.shortest, size
  height, width = torch_config.size_pair(edge)
  if not crops:
    if shortest:
      raise _UnpreparedError(
          f"size={size!r} without a crop leaves images of any size, which a "
          "ViT cannot take")
    return f'pil_resize({{size}}, "{method}")'
  rows, cols = torch_config.size_pair(
      settings.get("crop_size", kind.crop or edge))
  if not shortest and (rows, cols) == (height, width):
    return f'pil_resize({{size}}, "{method}")'
  if rows != cols or height != width or rows > height:
    raise _UnpreparedError(
        f"a resize to {height}x{width} and a crop to {rows}x{cols}; a square "
        "in a square was expected")
  return torch_config.crop_pipeline(
      rows, height, method, squash=not shortest, round_down=True)


def _pixel_statistics(
    settings: Mapping[str, Any], kind: _Kind, path: pathlib.Path
) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Returns mean and deviation of pixels in 0..1."""
  factor = settings.get("rescale_factor", 1 / 255)
  if (not settings.get("do_rescale", True) or abs(factor * 255 - 1) > 1e-6
      or settings.get("offset")):
    raise CheckpointError(
        f"{path}: pixels are not rescaled by 1/255 (do_rescale="
        f"{settings.get('do_rescale', True)}, rescale_factor={factor}); this "
        "package supports no other scale")
  if not settings.get("do_normalize", True):
    return (0.0,) * 3, (1.0,) * 3
  return (torch_config.channels(settings.get("image_mean", kind.mean), path),
          torch_config.channels(settings.get("image_std", kind.std), path))

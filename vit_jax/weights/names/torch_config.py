"""What the JSON files beside timm's and transformers' weights have in common.

They describe what the arrays cannot show: epsilons, the form of GELU, the
number of heads, names of classes, and how images are prepared. Here that is
expressed by the keys of model.json, and by the mean and deviation of the
pixels, which `pixel_statistics` puts into the weights.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import math
import os
import pathlib
from typing import Any

from absl import logging

from vit_jax.data import geometry, pillow
from vit_jax.data.transforms import make_transforms
from vit_jax.errors import CheckpointError

CONFIG = "config.json"
# The libraries' names of what our models call "erf" and "tanh".
_GELUS = {"gelu": "erf", "gelu_python": "erf", "gelu_new": "tanh",
          "gelu_pytorch_tanh": "tanh", "quick_gelu": "quick",
          "gelu_fast": "tanh", "gelu_tanh": "tanh"}
# What is assumed where nothing describes the images, as FileConfig.notes.
NO_PREPROCESS = {"preprocess": (
    "no file beside it describes how its images were prepared; using a plain "
    "resize and pixels in [-1, 1] (mean and deviation 0.5)")}
HALF: tuple[float, ...] = (0.5, 0.5, 0.5)  # of pixels in 0..1: [-1, 1]


@dataclasses.dataclass(frozen=True)
class ResizePlan:
  """How images are resized and cropped, in terms that both libraries know.

  Attributes:
    size: (height, width) of the result.
    edge: (height, width) that they are resized to before the crop.
    squash: whether both sides are resized to `edge`, and the aspect is lost;
      else the smaller side.
    method: interpolation, a key of pillow.METHODS.
    crop_pct: size / edge, as it was given; None if it was not.
  """

  size: tuple[int, int]
  edge: tuple[int, int]
  squash: bool = True
  method: str = "bilinear"
  crop_pct: float | None = None


def read_json_object(path: pathlib.Path) -> dict[str, Any]:
  """Returns a JSON object, {} where there is no file.

  Raises:
    CheckpointError: the file cannot be read or is not a JSON object.
  """
  try:
    content = json.loads(path.read_text("utf-8"))
  except FileNotFoundError:
    return {}
  except (OSError, ValueError) as error:
    raise CheckpointError(
        f"{path}: cannot be read ({error}); correct it or move it away"
    ) from None
  if not isinstance(content, dict):
    raise CheckpointError(f"{path}: a JSON object was expected, found "
                          f"{type(content).__name__}; correct it or move it "
                          "away")
  return content


def malformed(
    path: pathlib.Path, library: str, error: Exception
) -> CheckpointError:
  """Returns the error for a config that has not the form of its library's."""
  return CheckpointError(
      f"{path}: not as {library} writes it ({error!r}); correct it or move it "
      "away")


def foreign_config(path: str | os.PathLike) -> str | None:
  """Returns why config.json cannot be written beside a weights file.

  None where there is no such file, or one of these libraries.
  """
  beside = pathlib.Path(path).parent / CONFIG
  settings = read_json_object(beside)
  if (not settings or "model_type" in settings or "pretrained_cfg" in settings
      or isinstance(settings.get("architecture"), str)):
    return None
  return (f"{beside} is the config of something else, and that of "
          f"{os.fspath(path)} has the same name")


def is_complete(description: Mapping[str, Any]) -> bool:
  """Returns whether a description has the whole architecture and the size."""
  architecture = description.get("architecture") or {}
  return "width" in architecture and bool(description.get("image_size"))


def gelu_form(name: Any, path: pathlib.Path | None) -> str:
  """Returns "erf" or "tanh" for a library's name of an activation.

  Raises:
    CheckpointError: it is another activation.
  """
  if name not in _GELUS:
    raise CheckpointError(
        f"{path}: the activation {name!r} is not one of this package's models; "
        f"one of {', '.join(_GELUS)} was expected")
  return _GELUS[name]


def channels(value: Any, path: pathlib.Path) -> tuple[float, ...]:
  """Returns one number for each channel, of a number or three of them."""
  values = value if isinstance(value, Sequence) else [value] * 3
  if len(values) != 3:
    raise CheckpointError(
        f"{path}: mean or deviation {value!r} is for images of {len(values)} "
        "channels; one number for each of three channels was expected, as this "
        "package's models take red, green and blue")
  return tuple(float(x) for x in values)


def size_pair(size: Any) -> list[int]:
  """Returns [height, width] of a side, a pair, or {"height", "width"}."""
  if isinstance(size, Mapping):
    return [int(size["height"]), int(size["width"])]
  return list(geometry.pair(size))


def side_or_pair(size: Any) -> int | list[int]:
  """Returns the side of a square, else [height, width]."""
  height, width = geometry.pair(size)
  return height if height == width else [height, width]


def crop_pipeline(
    size: int, edge: int, method: str, *, squash: bool = False,
    round_down: bool = False,
) -> str:
  """Returns the pipeline of a resize to `edge` and a crop to `size`.

  Args:
    size: side of the square that is cut out of the middle.
    edge: what the smaller side becomes, or both of them with `squash`.
    method: interpolation, a key of pillow.METHODS.
    squash: whether the aspect is lost.
    round_down: see `pillow.PilCrop`.
  """
  pct = size / edge
  if int(size / pct) != edge:
    pct = size / (edge + 0.5)  # beyond the reach of rounding
  odd = round_down and not (squash and (edge - size) % 2 == 0)
  rest = f", {squash}, {odd}" if odd else ", True" if squash else ""
  return f'pil_crop({{size}}, {pct!r}, "{method}"{rest})'


def make_resize_plan(
    description: Mapping[str, Any], round_down: bool = False
) -> ResizePlan:
  """Returns how the images of a description are resized and cropped.

  The libraries cannot express every pipeline; a difference is logged.

  Args:
    description: keys of model.json.
    round_down: how the library cuts out the middle, see `pillow.PilCrop`.
  """
  size = geometry.pair(description["image_size"])
  text = description.get("preprocess") or "resize({size})"
  plan, exact = ResizePlan(size, size), False
  match make_transforms(text, size).steps:
    case (pillow.PilResize() as only,):
      plan, exact = dataclasses.replace(plan, method=only.method), True
    case (pillow.PilCrop() as only,):
      height, width = (math.floor(x / only.crop_pct) for x in size)
      plan, exact = ResizePlan(
          size, (height, width), only.squash, only.method, only.crop_pct), (
              only.round_down == round_down or only.crop_pct == 1
              or (only.squash and (height - size[0]) % 2 == 0
                  and (width - size[1]) % 2 == 0))
    case (geometry.ResizeSmall() as first, geometry.CentralCrop()):
      plan = ResizePlan(size, (first.size, first.size), squash=False)
    case (geometry.Resize() as first, geometry.CentralCrop()):
      plan = ResizePlan(size, geometry.pair(first.size))
  if not exact:
    logging.warning(
        "images are prepared by %r here; what is written for PyTorch is a "
        "resize of %s to %s with antialiasing, which differs a little", text,
        "both sides" if plan.squash else "the smaller side",
        "x".join(map(str, plan.edge)))
  return plan

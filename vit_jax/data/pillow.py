"""Resizing as PyTorch's worlds do it: by Pillow, antialiased, to whole numbers.

Pictures for timm's and transformers' models are prepared in this way, and so
that their models see the same pixels here, sizes and offsets are rounded as
torchvision rounds them.
"""

import dataclasses
import math
from typing import ClassVar

import numpy as np
from PIL import Image as PillowImage

from vit_jax.data import geometry, image_ops
from vit_jax.data.geometry import Image, Size

METHODS = {
    "nearest": PillowImage.Resampling.NEAREST,
    "lanczos": PillowImage.Resampling.LANCZOS,
    "bilinear": PillowImage.Resampling.BILINEAR,
    "bicubic": PillowImage.Resampling.BICUBIC,
    "box": PillowImage.Resampling.BOX,
    "hamming": PillowImage.Resampling.HAMMING,
}


@dataclasses.dataclass(frozen=True)
class PilResize:
  """Resizes to exactly this size; the aspect is lost."""

  size: Size
  method: str = "bilinear"
  random: ClassVar[bool] = False

  def __post_init__(self) -> None:
    geometry.check_size(self.size)
    _check_method(self.method)

  def __call__(self, image: Image, rng: np.random.Generator) -> Image:
    """Returns the resized picture, float32 of whole numbers."""
    return resize(image, geometry.pair(self.size), self.method)


@dataclasses.dataclass(frozen=True)
class PilCrop:
  """timm's evaluation: the smaller side to size / crop_pct, then the middle.

  With `squash`, both sides are resized to that, and the aspect is lost. Where
  an odd number of pixels is cut off, timm rounds half of it to an even number,
  and transformers (`round_down`) down.
  """

  size: Size
  crop_pct: float = 1.0
  method: str = "bicubic"
  squash: bool = False
  round_down: bool = False
  random: ClassVar[bool] = False

  def __post_init__(self) -> None:
    geometry.check_size(self.size)
    _check_method(self.method)
    pct = self.crop_pct
    if not isinstance(pct, int | float) or not 0 < pct <= 1:
      raise ValueError(
          f"crop_pct is {pct!r}; expected a fraction, 0 < crop_pct <= 1")

  def __call__(self, image: Image, rng: np.random.Generator) -> Image:
    """Returns the middle of the resized picture."""
    height, width = geometry.pair(self.size)
    rows, cols = (math.floor(x / self.crop_pct) for x in (height, width))
    if not self.squash:
      image = image_ops.shorten(image)
      rows, cols = _cover(image.shape, rows, cols)
    image = resize(image, (rows, cols), self.method)
    whole = math.floor if self.round_down else round
    top, left = whole((rows - height) / 2), whole((cols - width) / 2)
    return image[top:top + height, left:left + width]


def resize(image: Image, size: tuple[int, int], method: str) -> Image:
  """Resizes to (height, width) as Pillow does; float32 of whole numbers."""
  picture = PillowImage.fromarray(image_ops.to_uint8(image))
  return np.asarray(
      picture.resize(size[::-1], METHODS[method]), np.float32)


def _cover(shape: tuple[int, ...], rows: int, cols: int) -> tuple[int, int]:
  """Returns the size at which a picture just covers rows x cols."""
  height, width = shape[:2]
  if rows == cols:  # torchvision cuts off what is behind the point
    if height <= width:
      return rows, int(rows * width / height)
    return int(cols * height / width), cols
  ratio = min(height / rows, width / cols)  # and timm, for others, rounds
  return round(height / ratio), round(width / ratio)


def _check_method(method: str) -> None:
  if method not in METHODS:
    raise ValueError(
        f"method is {method!r}; expected one of {', '.join(METHODS)}")

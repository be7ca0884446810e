"""The transforms that move pixels: resizes, crops, flips, rotations.

Each is a frozen dataclass called with (image, rng). Pictures enter as uint8
RGB and are float32 in 0..255 after a resize.
"""

import dataclasses
from typing import ClassVar, Protocol, runtime_checkable

import cv2
from jaxtyping import Num
import numpy as np

from vit_jax.data import image_ops
from vit_jax.errors import DataError

Image = Num[np.ndarray, "_ _ 3"]  # Height and width change on the way.
Size = int | tuple[int, int]  # A square's side, or (height, width).


@runtime_checkable
class Transform(Protocol):
  """One step; `random` says whether it draws from rng."""

  random: ClassVar[bool]

  def __call__(self, image: Image, rng: np.random.Generator) -> Image:
    """Returns the changed picture."""


@dataclasses.dataclass(frozen=True)
class Resize:
  """Resizes to exactly this size; the aspect is lost."""

  size: Size
  method: str = "bilinear"
  random: ClassVar[bool] = False

  def __post_init__(self) -> None:
    check_size(self.size)
    _check_method(self.method)

  def __call__(self, image: Image, rng: np.random.Generator) -> Image:
    """Returns the resized picture."""
    return image_ops.resize(image, pair(self.size), self.method)


@dataclasses.dataclass(frozen=True)
class ResizeSmall:
  """Resizes so that the smaller side has this length; keeps the aspect."""

  size: int
  method: str = "area"
  random: ClassVar[bool] = False

  def __post_init__(self) -> None:
    check(_is_count(self.size, 1), "size", self.size,
          "the length of the smaller side, such as 448")
    _check_method(self.method)

  def __call__(self, image: Image, rng: np.random.Generator) -> Image:
    """Returns the resized picture, of a very thin one only the middle."""
    image = image_ops.shorten(image)
    size = image_ops.small_side(image.shape, self.size)
    return image_ops.resize(image, size, self.method)


@dataclasses.dataclass(frozen=True)
class CentralCrop:
  """Cuts out the middle, rounded towards the top left."""

  size: Size
  random: ClassVar[bool] = False

  def __post_init__(self) -> None:
    check_size(self.size)

  def __call__(self, image: Image, rng: np.random.Generator) -> Image:
    """Returns the middle."""
    height, width = pair(self.size)
    top, left = _room(image, (height, width), "central_crop")
    top, left = top // 2, left // 2
    return image[top:top + height, left:left + width]


@dataclasses.dataclass(frozen=True)
class InceptionCrop:
  """Cuts out a random part and resizes it (see image_ops.sample_crop)."""

  size: Size
  area: tuple[float, float] = (0.05, 1.0)
  aspect: tuple[float, float] = (0.75, 1.33)
  random: ClassVar[bool] = True

  def __post_init__(self) -> None:
    check_size(self.size)
    check(is_range(self.area) and self.area[1] <= 1, "area", self.area,
          "(least, greatest) fraction of the picture, such as (0.05, 1)")
    check(is_range(self.aspect), "aspect", self.aspect,
          "(least, greatest) width over height, such as (0.75, 1.33)")

  def __call__(self, image: Image, rng: np.random.Generator) -> Image:
    """Returns the resized part."""
    top, left, height, width = image_ops.sample_crop(
        image.shape, self.area, self.aspect, rng)
    return image_ops.resize(
        image[top:top + height, left:left + width], pair(self.size))


@dataclasses.dataclass(frozen=True)
class RandomCrop:
  """Cuts out a part of this size, after a border of `pad` black pixels."""

  size: Size
  pad: int = 0
  random: ClassVar[bool] = True

  def __post_init__(self) -> None:
    check_size(self.size)
    check(_is_count(self.pad, 0), "pad", self.pad,
          "a number of pixels")

  def __call__(self, image: Image, rng: np.random.Generator) -> Image:
    """Returns the part."""
    if self.pad:
      border = (self.pad, self.pad)
      image = np.pad(image, (border, border, (0, 0)))
    height, width = pair(self.size)
    room = _room(image, (height, width), "random_crop")
    top, left = (int(rng.integers(space + 1)) for space in room)
    return image[top:top + height, left:left + width]


@dataclasses.dataclass(frozen=True)
class FlipLr:
  """Mirrors left and right with probability 1/2."""

  random: ClassVar[bool] = True

  def __call__(self, image: Image, rng: np.random.Generator) -> Image:
    """Returns the picture or its mirror image."""
    return cv2.flip(image, 1) if rng.random() < 0.5 else image


@dataclasses.dataclass(frozen=True)
class Rotate:
  """Turns by up to this many degrees either way; black where nothing is."""

  degrees: float
  random: ClassVar[bool] = True

  def __post_init__(self) -> None:
    check(is_number(self.degrees) and 0 <= self.degrees <= 180, "degrees",
          self.degrees, "the greatest angle, 0 to 180")

  def __call__(self, image: Image, rng: np.random.Generator) -> Image:
    """Returns the turned picture."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(
        ((width - 1) / 2, (height - 1) / 2),
        rng.uniform(-self.degrees, self.degrees), 1.0)
    return cv2.warpAffine(
        np.ascontiguousarray(image), matrix, (width, height),
        flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def pair(size: Size) -> tuple[int, int]:
  """Returns (height, width) of a size, which may be a list too."""
  if isinstance(size, int):
    return size, size
  height, width = size
  return int(height), int(width)


def _room(
    image: Image, size: tuple[int, int], name: str) -> tuple[int, int]:
  """Returns how many rows and columns are left over by a crop."""
  height, width = image.shape[:2]
  if height < size[0] or width < size[1]:
    raise DataError(
        f"a picture of {height}x{width} pixels (height x width) is too small "
        f"for {name}({size[0]}, {size[1]}); resize it first")
  return height - size[0], width - size[1]


def check_size(size: Size) -> None:
  """Raises ValueError unless it is a side or (height, width)."""
  sides = size if isinstance(size, tuple) else (size, size)
  check(len(sides) == 2 and all(_is_count(side, 1) for side in sides),
        "size", size, "a side such as 224 or (height, width)")


def _check_method(method: str) -> None:
  check(method in ("bilinear", "area"), "method", method, "bilinear or area")


def check(good: bool, name: str, value: object, expected: str) -> None:
  """Raises the ValueError about an argument, unless it is good."""
  if not good:
    raise ValueError(f"{name} is {value!r}; expected {expected}")


def is_number(value: object) -> bool:
  """Tells whether a value is a number."""
  return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object, least: int) -> bool:
  return is_number(value) and isinstance(value, int) and value >= least


def is_range(value: object) -> bool:
  """Tells whether a value is (least, greatest), above zero."""
  return (isinstance(value, tuple) and len(value) == 2
          and all(map(is_number, value)) and 0 < value[0] <= value[1])

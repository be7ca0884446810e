"""RandAugment as AugReg used it: random distortions, all of one strength.

From sixteen distortions, `layers` are drawn with equal chances, the same one
possibly again, and applied one after the other (Cubuk et al. 2019; the set and
its scales are those of AugReg's code in big_vision). With m = magnitude / 10,
which may well be 2:

  auto_contrast, equalize, invert          have no strength
  rotate                                   30 m degrees, either way
  posterize                                int(4 m) bits are kept, 1 to 8
  solarize                                 values from int(256 m) are inverted
  solarize_add                             int(110 m) more for values below 128
  color, contrast, brightness, sharpness   factor 0.1 + 1.8 m; 1 is no change
  shear_x, shear_y                         0.3 m, either way
  translate_x, translate_y                 `translate` m pixels, either way
  cutout                                   a grey square of side 2 int(`cutout`
                                           m) around any pixel

Magnitude 0 is therefore neither the identity nor the weakest: a tenth of the
contrast is left, and one bit; posterize is weaker at a higher magnitude and
has no effect from 20 on, like solarize from 10 on. `translate` and `cutout` are
AugReg's for images of 224 pixels, and should be reduced for smaller ones.

Every distortion is Pillow's of that name, bit for bit if no pixel moves;
geometric distortions take the nearest pixel, and grey (128) from outside.
(That code differs in contrast: it blends with grey of (pixels) / 256.)
"""

from collections.abc import Callable
import dataclasses
import math
from typing import ClassVar, NamedTuple

import cv2
from jaxtyping import Shaped, UInt8
import numpy as np

from vit_jax.data import image_ops
from vit_jax.data.geometry import Image

Bytes = UInt8[np.ndarray, "h w 3"]
GREY = (128, 128, 128)


class Op(NamedTuple):
  """A distortion: (image, strength) -> image."""

  apply: Callable[..., Bytes]
  strength: Callable[[float], float] | None = None  # of magnitude / 10
  signed: bool = False  # Negated with probability 1/2.


def auto_contrast(image: Bytes) -> Bytes:
  """Stretches every channel to 0..255."""
  table = np.empty((256, 3), np.uint8)
  for channel, values in enumerate(cv2.split(image)):
    low, high = int(values.min()), int(values.max())
    low, high = (low, high) if low < high else (0, 255)
    scale = 255 / (high - low)
    table[:, channel] = np.clip(np.arange(256) * scale - low * scale, 0, 255)
  return _look_up(image, table)


def equalize(image: Bytes) -> Bytes:
  """Makes all values of a channel about equally frequent."""
  table = np.empty((256, 3), np.uint8)
  for channel, values in enumerate(cv2.split(image)):
    counts = np.bincount(values.ravel(), minlength=256)
    step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
    below = np.cumsum(counts) - counts
    table[:, channel] = (
        np.minimum((below + step // 2) // step, 255) if step
        else np.arange(256))
  return _look_up(image, table)


def invert(image: Bytes) -> Bytes:
  """Returns the negative."""
  return 255 - image


def posterize(image: Bytes, bits: float) -> Bytes:
  """Keeps the highest bits of every value."""
  shift = 8 - min(max(int(bits), 1), 8)
  return _look_up(image, np.arange(256) >> shift << shift)


def solarize(image: Bytes, threshold: float) -> Bytes:
  """Inverts values that are not below a threshold."""
  table = np.arange(256)
  return _look_up(image, np.where(table < int(threshold), table, 255 - table))


def solarize_add(image: Bytes, addition: float) -> Bytes:
  """Makes values below 128 brighter."""
  table = np.arange(256)
  brighter = np.minimum(table + int(addition), 255)
  return _look_up(image, np.where(table < 128, brighter, table))


def color(image: Bytes, factor: float) -> Bytes:
  """Interpolates from grey (0) to the image (1), or extrapolates."""
  return _blend(cv2.merge([_grey(image)] * 3), image, factor)


def contrast(image: Bytes, factor: float) -> Bytes:
  """Interpolates from its mean grey (0) to the image, or extrapolates."""
  mean = np.array(int(_grey(image).mean() + 0.5))
  return _look_up(image, _blend(mean, np.arange(256), factor))


def brightness(image: Bytes, factor: float) -> Bytes:
  """Interpolates from black (0) to the image (1), or extrapolates."""
  return _look_up(image, _blend(np.array(0), np.arange(256), factor))


def sharpness(image: Bytes, factor: float) -> Bytes:
  """Interpolates from blurred (0) to the image, except at the border."""
  if min(image.shape[:2]) < 3:
    return image
  kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
  smooth = image.copy()
  smooth[1:-1, 1:-1] = cv2.filter2D(image, -1, kernel)[1:-1, 1:-1]
  return _blend(smooth, image, factor)


def rotate(image: Bytes, degrees: float) -> Bytes:
  """Turns anticlockwise about the middle."""
  cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
  y, x = image.shape[0] / 2, image.shape[1] / 2
  return _warp(image, [[cos, -sin, x - cos * x + sin * y],
                       [sin, cos, y - sin * x - cos * y]])


def shear_x(image: Bytes, amount: float) -> Bytes:
  """Takes row y from `amount` * y pixels further right."""
  return _warp(image, [[1, amount, 0], [0, 1, 0]])


def shear_y(image: Bytes, amount: float) -> Bytes:
  """Takes column x from `amount` * x pixels further down."""
  return _warp(image, [[1, 0, 0], [amount, 1, 0]])


def translate(image: Bytes, left: float, up: float) -> Bytes:
  """Shifts by this many pixels."""
  return _warp(image, [[1, 0, left], [0, 1, up]])


def cutout(image: Bytes, half: int, row: int, column: int) -> Bytes:
  """Paints a square of side 2 half grey, clipped to the image."""
  image = image.copy()
  image[max(0, row - half):row + half,
        max(0, column - half):column + half] = GREY
  return image


# Translations and cutout are further scaled by RandAugment's fields.
OPS: dict[str, Op] = {
    "auto_contrast": Op(auto_contrast),
    "equalize": Op(equalize),
    "invert": Op(invert),
    "rotate": Op(rotate, lambda m: 30 * m, True),
    "posterize": Op(posterize, lambda m: 4 * m),
    "solarize": Op(solarize, lambda m: 256 * m),
    "color": Op(color, lambda m: 0.1 + 1.8 * m),
    "contrast": Op(contrast, lambda m: 0.1 + 1.8 * m),
    "brightness": Op(brightness, lambda m: 0.1 + 1.8 * m),
    "sharpness": Op(sharpness, lambda m: 0.1 + 1.8 * m),
    "shear_x": Op(shear_x, lambda m: 0.3 * m, True),
    "shear_y": Op(shear_y, lambda m: 0.3 * m, True),
    "translate_x": Op(lambda x, v: translate(x, v, 0), lambda m: m, True),
    "translate_y": Op(lambda x, v: translate(x, 0, v), lambda m: m, True),
    "cutout": Op(cutout, lambda m: m),
    "solarize_add": Op(solarize_add, lambda m: 110 * m),
}


@dataclasses.dataclass(frozen=True)
class RandAugment:
  """Distorts an image, which becomes uint8; see the module."""

  layers: int = 2
  magnitude: float = 10
  translate: float = 100
  cutout: float = 40
  random: ClassVar[bool] = True

  def __post_init__(self) -> None:
    for name, most in (("layers", 99), ("magnitude", 30), ("translate", 9999),
                       ("cutout", 9999)):
      value = getattr(self, name)
      kind = int if name == "layers" else float
      number = isinstance(value, int | kind) and not isinstance(value, bool)
      if not number or not 0 <= value <= most:
        raise ValueError(f"{name} is {value!r}; expected 0 to {most}, as in "
                         "randaugment(2, 15)")

  def __call__(self, image: Image, rng: np.random.Generator) -> Bytes:
    """Returns the distorted image."""
    image, names = image_ops.to_uint8(image), list(OPS)
    for _ in range(self.layers):
      image = self.distort(image, names[rng.integers(len(names))], rng)
    return image

  def distort(
      self, image: Bytes, name: str, rng: np.random.Generator) -> Bytes:
    """Applies one distortion of OPS at this magnitude."""
    op = OPS[name]
    if op.strength is None:
      return op.apply(image)
    value = op.strength(self.magnitude / 10)
    if name == "cutout":
      row, column = (int(rng.integers(side)) for side in image.shape[:2])
      return op.apply(image, int(self.cutout * value), row, column)
    if name.startswith("translate"):
      value *= self.translate
    if op.signed and rng.random() < 0.5:
      value = -value
    return op.apply(image, value)


def _look_up(image: Bytes, table: Shaped[np.ndarray, "256 ..."]) -> Bytes:
  """Replaces values by those of a table, or of one for each channel."""
  table = table.astype(np.uint8)
  return cv2.LUT(image, table if table.ndim == 1 else table[None])


def _blend(
    start: Shaped[np.ndarray, "..."], end: Shaped[np.ndarray, "..."],
    factor: float) -> UInt8[np.ndarray, "..."]:
  """Returns start + factor * (end - start), cut off to 0..255."""
  start, mixed = start.astype(np.float32), end.astype(np.float32)
  mixed -= start
  mixed *= np.float32(factor)
  mixed += start
  return np.clip(mixed, 0, 255, out=mixed).astype(np.uint8)


def _grey(image: Bytes) -> UInt8[np.ndarray, "h w"]:
  """Returns the brightness of every pixel (ITU-R 601, in 16 bits)."""
  # Channels of their own are added up several times as fast as every third
  # value of an image.
  red, green, blue = (x.astype(np.uint32) for x in cv2.split(image))
  total = 19595 * red + 38470 * green + 7471 * blue + 0x8000
  return (total >> 16).astype(np.uint8)


def _warp(image: Bytes, matrix: list[list[float]]) -> Bytes:
  """Samples each pixel at matrix @ (x, y, 1); coordinates of pixel corners."""
  m = np.array(matrix, np.float64)
  m[:, 2] += m[:, :2].sum(axis=1) / 2 - 0.5  # OpenCV counts from centres.
  flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
  return cv2.warpAffine(
      image, m, image.shape[1::-1], flags=flags, borderValue=GREY)

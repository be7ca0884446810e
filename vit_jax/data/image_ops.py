"""The arithmetic behind the transforms: resizing and the Inception crop."""

import math

import cv2
from jaxtyping import Float, Num, UInt8
import numpy as np

# Pictures thinner than this are cut before they are resized by a side.
MAX_ASPECT = 64


def resize(
    image: Num[np.ndarray, "h w 3"], size: tuple[int, int],
    method: str = "bilinear") -> Float[np.ndarray, "h2 w2 3"]:
  """Resizes to (height, width); float32 in the range of the input.

  Equal to TensorFlow's image resize without antialiasing: "bilinear" between
  pixel centres, or "area", the mean of what an output pixel covers.
  """
  image = np.ascontiguousarray(image, np.float32)
  if method == "area":
    out = _average(image, size)
    out *= (_area_error(image.shape[0], size[0])[:, None, None]
            * _area_error(image.shape[1], size[1])[:, None])
    return out
  return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)


def _average(
    image: Float[np.ndarray, "h w 3"], size: tuple[int, int],
) -> Float[np.ndarray, "h2 w2 3"]:
  """Averages over the area that each output pixel covers."""
  rows, columns = image.shape[:2]
  if size[0] <= rows and size[1] <= columns:
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
  if size[0] >= rows and size[1] >= columns:
    # A factor just below the true one: where borders of old and new pixels
    # coincide, OpenCV's rounding errors would pick the wrong neighbour.
    return cv2.resize(
        image, None, fx=size[1] / columns * (1 - 1e-9),
        fy=size[0] / rows * (1 - 1e-9), interpolation=cv2.INTER_AREA)
  # One axis grows and one shrinks: OpenCV can do that in two steps only.
  return _average(_average(image, (size[0], columns)), size)


def _area_error(old: int, new: int) -> Float[np.ndarray, " new"]:
  """Returns the sum of TensorFlow's area weights, not quite 1.

  TensorFlow finds the borders of an output pixel in float32, so that its
  weights add up to 1 within 3e-5 only. Reference scores were taken with that.
  """
  scale = np.float32(old) / np.float32(new)
  low = np.arange(new, dtype=np.float32) * scale
  high = np.arange(1, new + 1, dtype=np.float32) * scale
  # An output pixel strictly inside one input pixel just takes its value.
  inside = (np.floor(low) < low) & (high < np.floor(low) + 1)
  return np.where(inside, np.float32(1), (high - low) / scale)


def small_side(shape: tuple[int, ...], size: int) -> tuple[int, int]:
  """Returns (height, width) with the smaller side as given, same aspect."""
  ratio = np.float32(size) / np.float32(min(shape[:2]))
  height, width = (round(float(np.float32(side) * ratio))
                   for side in shape[:2])
  return height, width


def shorten(image: Num[np.ndarray, "h w 3"]) -> Num[np.ndarray, "h2 w2 3"]:
  """Cuts a picture to its middle where a side is over 64 times the other.

  Resized by its shorter side, a picture of 30000x1 pixels would take tens of
  gigabytes, of which a central crop keeps the middle only.
  """
  height, width = image.shape[:2]
  rows, cols = min(height, MAX_ASPECT * width), min(width, MAX_ASPECT * height)
  top, left = (height - rows) // 2, (width - cols) // 2
  return image[top:top + rows, left:left + cols]


def sample_crop(
    shape: tuple[int, ...], area: tuple[float, float],
    aspect: tuple[float, float], rng: np.random.Generator,
    attempts: int = 100) -> tuple[int, int, int, int]:
  """Draws (top, left, height, width) of an Inception crop.

  As TensorFlow's sample_distorted_bounding_box on the whole picture: the
  aspect (width over height) is uniform, and then the HEIGHT is uniform among
  those whose area is allowed and that fit. The area is therefore not uniform:
  small crops are more likely (median 0.30 for area 0.05..1 on 375x500).

  Args:
    shape: height, width of the picture.
    area: least and greatest area, as fractions of the picture's.
    aspect: least and greatest width over height.
    rng: where randomness comes from.
    attempts: after so many aspects without a crop that fits, the whole
      picture is taken.
  """
  rows, columns = shape[:2]
  least, most = (fraction * rows * columns for fraction in area)
  for _ in range(attempts):
    ratio = rng.uniform(*aspect)
    low = round(math.sqrt(least / ratio))
    high = min(round(math.sqrt(most / ratio)), rows,
               math.ceil((columns + 0.5) / ratio) - 1)
    height = int(rng.integers(low, high + 1)) if low < high else high
    width = round(height * ratio)
    # Rounding may have pushed the area over a border: one row mends it.
    if width * height < least:
      height += 1
    elif width * height > most:
      height -= 1
    width = round(height * ratio)
    if (0 < height <= rows and 0 < width <= columns
        and least <= width * height <= most):
      return (_offset(rows - height, rng), _offset(columns - width, rng),
              height, width)
  return 0, 0, rows, columns


def _offset(room: int, rng: np.random.Generator) -> int:
  """Draws from 0..room - 1; TensorFlow leaves the last position out too."""
  return int(rng.integers(room)) if room else 0


def to_uint8(image: Num[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w c"]:
  """Rounds to the nearest of 0..255, halves to even; C-contiguous."""
  image = np.ascontiguousarray(image)
  if image.dtype in (np.float32, np.float64) and image.size:
    # In one pass, which numpy takes three for. Of one channel: of several,
    # OpenCV multiplies the first alone by a number.
    flat = cv2.multiply(  # type: ignore[call-overload]
        image.reshape(1, -1), 1.0, dtype=cv2.CV_8U)
    return flat.reshape(image.shape)
  return image if image.dtype == np.uint8 else np.clip(
      np.rint(image), 0, 255).astype(np.uint8)

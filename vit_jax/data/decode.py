"""Bytes of a picture file -> uint8 RGB, as a person sees the picture."""

import io

import cv2
from jaxtyping import Shaped, UInt8
import numpy as np
from PIL import Image, TiffImagePlugin
import simplejpeg

from vit_jax.data import picture_kinds
from vit_jax.data.picture_kinds import JpegHeader
from vit_jax.data.tiff_layouts import check_tiff, tiff_samples
from vit_jax.errors import DataError

# No picture may have more pixels, whatever its format: 2^27 of them are
# 400 MB as RGB, and the cameras of telephones stay below.
MAX_PIXELS = 2**27

# How a picture must be turned to stand upright, by EXIF orientation:
# (swap rows and columns, then reverse rows, then reverse columns).
_UPRIGHT = {
    2: (False, False, True), 3: (False, True, True), 4: (False, True, False),
    5: (True, False, False), 6: (True, False, True), 7: (True, True, True),
    8: (True, True, False)}
_ORIENTATION = 0x0112  # The EXIF tag.
_BLOCK = 2**20  # Pixels that are put on white at a time.


def decode(
    data: bytes | Image.Image | Shaped[np.ndarray, "..."],
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns the picture as uint8 RGB of shape (h, w, 3).

  Files may be grey, RGB, CMYK or palette pictures of 1 to 16 bits; what is
  transparent is shown on white, EXIF orientation is applied, and of an
  animation the first frame counts. Colour profiles and gamma are ignored, as
  in the pipelines that the released weights were trained with. JPEG files are
  decoded with the accurate transforms, bit for bit as TensorFlow's
  INTEGER_ACCURATE and Pillow do.

  Args:
    data: the content of a picture file; an image of Pillow; or an array of
      uint8 or uint16: grey (h w), or (h w c) with 1 (grey), 2 (grey, alpha),
      3 (RGB) or 4 (RGB, alpha) channels.

  Raises:
    DataError: not a picture, a damaged one, one of a kind that is not read
      (the message names it), or one of more than MAX_PIXELS pixels.
  """
  if isinstance(data, np.ndarray):
    return _array_to_rgb(data)
  if isinstance(data, Image.Image):
    return _decode_image(data, None, data.format or "Pillow")
  data = bytes(data)
  kind = picture_kinds.recognize(data)
  if kind is None:
    raise DataError(picture_kinds.describe_other(data))
  pillow_format, name = kind
  if pillow_format == "JPEG":
    return _decode_jpeg(data)
  if pillow_format == "WEBP":
    _check_pixels(picture_kinds.webp_size(data), name)
  if pillow_format == "JPEG2000":
    picture_kinds.check_jpeg2000(data)
  if pillow_format == "TIFF":
    check_tiff(data)
  return _decode_by_pillow(data, pillow_format, name)


def _check_pixels(size: tuple[int, int] | None, name: str) -> None:
  """Raises DataError where (height, width) are more pixels than allowed."""
  if size is not None and size[0] * size[1] > MAX_PIXELS:
    raise DataError(
        f"a {name} picture too large to open: {size[1]}x{size[0]} pixels, and "
        f"at most {MAX_PIXELS:,} are allowed")


def _decode_jpeg(data: bytes) -> UInt8[np.ndarray, "h w 3"]:
  """Decodes a JPEG by libjpeg-turbo, or by Pillow, which is more tolerant."""
  header = JpegHeader(data)
  if header.unsupported:
    raise DataError(
        f"{header.unsupported}, which cannot be read; save it as PNG")
  _check_pixels(header.size, "JPEG")
  if header.channels in (1, 3):
    # Some cameras leave the end marker out. With it, a decoder that finds
    # every pixel has nothing to complain about.
    for ending in (b"", b"\xff\xd9"):
      try:
        pixels = simplejpeg.decode_jpeg(
            data + ending, "RGB", fastdct=False, fastupsample=False)
        return _upright(pixels, data) if header.exif else pixels
      except ValueError:
        pass
  return _decode_by_pillow(data, "JPEG", "JPEG")


def _decode_by_pillow(
    data: bytes, pillow_format: str, name: str
) -> UInt8[np.ndarray, "h w 3"]:
  """Decodes one of the other formats; by that format's plug-in alone."""
  Image.init()
  try:
    # Not Image.open: it hides why a plug-in refused the file, and warns of
    # sizes that are allowed here.
    with Image.OPEN[pillow_format][0](io.BytesIO(data), "") as image:
      _check_pixels(image.size[::-1], name)
      return _decode_image(image, data, name)
  except DataError:
    raise
  except Exception as error:  # Pillow's decoders raise all sorts of errors.
    raise DataError(_explain(data, name, error)) from error


def _decode_image(
    image: Image.Image, data: bytes | None, name: str
) -> UInt8[np.ndarray, "h w 3"]:
  """Loads an opened picture, converts it and turns it upright."""
  if getattr(image, "default_image", False):
    image.seek(1)  # The still picture of an APNG is not part of it.
  image.load()  # Turns a TIFF upright, and its EXIF says so then.
  pixels = _to_rgb(image, data, name)
  if image.format in ("GIF", "PNG"):
    pixels = _white_around(pixels, getattr(image, "dispose_extent", None))
  return _upright(pixels, image)


def _white_around(
    pixels: UInt8[np.ndarray, "h w 3"],
    box: tuple[int, int, int, int] | None,
) -> UInt8[np.ndarray, "h w 3"]:
  """Makes white what the first frame of an animation does not cover."""
  height, width = pixels.shape[:2]
  if not box or box[:2] == (0, 0) and box[2] >= width and box[3] >= height:
    return pixels
  left, top, right, bottom = box
  framed = np.full_like(pixels, 255)
  framed[top:bottom, left:right] = pixels[top:bottom, left:right]
  return framed


def _upright(
    pixels: UInt8[np.ndarray, "h w 3"], image: bytes | Image.Image,
) -> UInt8[np.ndarray, "h2 w2 3"]:
  """Turns the pixels as the EXIF of the file or image says."""
  try:
    if isinstance(image, bytes):
      image = Image.open(io.BytesIO(image), formats=("JPEG", "MPO"))
    orientation = image.getexif().get(_ORIENTATION, 1)
  except Exception:  # Damaged EXIF does not make a damaged picture.
    orientation = 1
  if orientation in _UPRIGHT:
    swap, rows, columns = _UPRIGHT[orientation]
    pixels = pixels.swapaxes(0, 1) if swap else pixels
    pixels = pixels[::-1 if rows else 1, ::-1 if columns else 1]
  return np.ascontiguousarray(pixels)


def _to_rgb(
    image: Image.Image, data: bytes | None, name: str
) -> UInt8[np.ndarray, "h w 3"]:
  """Converts a loaded picture of any mode."""
  mode = image.mode
  if mode.startswith("I;16") or (
      mode == "I" and image.format in ("PNG", "PPM")):
    samples = np.asarray(image).astype(np.uint16)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
      samples = tiff_samples(image.tag_v2, samples)
    return _array_to_rgb(_with_key(image, samples, 16))
  if mode in ("I", "F"):
    raise DataError(f"a {name} picture of 32 bits per channel, whose "
                    "black and white are not defined; save it with 8 or 16")
  if image.format == "PNG" and data is not None and (
      "transparency" in image.info and mode in ("1", "L", "RGB")):
    return _array_to_rgb(_with_key(image, *_png_samples(image, data)))
  if mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
    # Adobe's files store ink inverted, and Pillow takes every file for one.
    image = Image.eval(image, lambda ink: 255 - ink)
  if mode in ("La", "RGBa", "PA") or image.has_transparency_data:
    if mode == "La":  # Pillow knows one way out of premultiplied grey.
      image = image.convert("LA")
    return _array_to_rgb(np.asarray(image.convert("RGBA")))
  return np.asarray(image.convert("RGB"))


def _png_samples(
    image: Image.Image, data: bytes
) -> tuple[Shaped[np.ndarray, "..."], int]:
  """Returns the samples of a PNG as its key colour means them, and the bits."""
  bits = data[24]
  if bits == 16 and image.mode == "RGB":  # Pillow drops the lower bytes.
    samples = cv2.imdecode(
        np.frombuffer(data, np.uint8),
        cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION)
    if samples is None:
      raise ValueError("its 16-bit samples cannot be decoded")
    return samples[..., ::-1], bits
  return np.asarray(image.convert("L") if image.mode == "1" else image), bits


def _with_key(
    image: Image.Image, samples: Shaped[np.ndarray, "..."], bits: int
) -> Shaped[np.ndarray, "..."]:
  """Adds the alpha channel of a picture with one transparent colour."""
  key = image.info.get("transparency")
  if key is None:
    return samples
  key = np.asarray(key) & 2**bits - 1  # Higher bits are of no account.
  if bits < 8:  # Pillow has scaled the samples to 8 bits.
    key = key * 255 // (2**bits - 1)
  samples = samples[..., None] if samples.ndim == 2 else samples
  seen = (samples != np.asarray(key, samples.dtype)).any(-1, keepdims=True)
  top = np.iinfo(samples.dtype).max
  return np.concatenate([samples, seen * samples.dtype.type(top)], axis=-1)


def _array_to_rgb(
    array: Shaped[np.ndarray, "..."],
) -> UInt8[np.ndarray, "h w 3"]:
  """Converts grey, grey and alpha, RGB or RGBA numbers to RGB on white."""
  if (array.dtype not in (np.uint8, np.uint16) or not array.size
      or array.ndim not in (2, 3) or array.shape[2:] > (4,)):
    raise DataError(f"an array {array.dtype}{list(array.shape)}; expected "
                    "uint8 or uint16, (h w) or (h w c) with 1 to 4 channels")
  if array.ndim == 2:
    array = array[..., None]
  height, width, channels = array.shape
  if array.dtype == np.uint8 and channels == 3:
    return np.ascontiguousarray(array)
  rgb = np.empty((height, width, 3), np.uint8)
  rows = max(1, _BLOCK // width)
  for top in range(0, height, rows):
    rgb[top:top + rows] = _on_white(array[top:top + rows])
  return rgb


def _on_white(array: Shaped[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w k"]:
  """Returns 8-bit colours of a few rows, blended with white by their alpha."""
  if array.dtype == np.uint16:
    array = np.rint(array / 257).astype(np.uint8)
  if array.shape[-1] in (1, 3):
    return array
  color, alpha = array[..., :-1], array[..., -1:].astype(np.uint16)
  return ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _explain(data: bytes, name: str, error: Exception) -> str:
  """Says what is wrong with a file whose decoder failed."""
  reason = " ".join(str(error).split()) or type(error).__name__
  lower = reason.lower()
  if "truncated" in lower or "unexpected end" in lower or "eof" in lower:
    return f"a truncated {name} picture of {len(data)} bytes"
  if isinstance(error, NotImplementedError) or any(
      word in lower for word in ("unsupported", "unknown", "not supported")):
    return (f"a {name} picture of a kind that cannot be read ({reason}), or "
            f"one with a damaged header, of {len(data)} bytes")
  return f"a damaged {name} picture of {len(data)} bytes ({reason})"

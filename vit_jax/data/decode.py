"""Bytes of a picture file -> uint8 RGB, as a person sees the picture."""

import io

from jaxtyping import Shaped, UInt8
import numpy as np
from PIL import Image
import simplejpeg

from vit_jax.errors import DataError

# How a picture must be turned to stand upright, by EXIF orientation:
# (swap rows and columns, then reverse rows, then reverse columns).
_UPRIGHT = {
    2: (False, False, True), 3: (False, True, True), 4: (False, True, False),
    5: (True, False, False), 6: (True, False, True), 7: (True, True, True),
    8: (True, True, False)}
_ORIENTATION = 0x0112  # The EXIF tag.

# What a file may be that is no picture: how it begins -> its name.
_IMPOSTORS = (
    (b"<!doctype html", "an HTML page"), (b"<html", "an HTML page"),
    (b"<svg", "an SVG drawing"), (b"<?xml", "an XML file"),
    (b"version https://git-lfs", "a Git LFS pointer; run git lfs pull"),
    (b"pk\x03\x04", "a zip file"), (b"\x1f\x8b", "a gzip file"),
    (b"%pdf", "a PDF file"), (b"\x93numpy", "a numpy array"))
_PICTURES = (
    (b"\xff\xd8", "JPEG"), (b"\x89PNG\r\n", "PNG"), (b"GIF8", "GIF"),
    (b"RIFF", "WebP"), (b"BM", "BMP"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"),
    (b"P5\n", "PGM"), (b"P6\n", "PPM"))


def decode(
    data: bytes | Shaped[np.ndarray, "..."],
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns the picture as uint8 RGB of shape (h, w, 3).

  Files may be grey, RGB, CMYK or palette pictures of 1 to 16 bits; what is
  transparent is shown on white, EXIF orientation is applied, and of an
  animation the first frame counts. JPEG files are decoded with the accurate
  transforms, bit for bit as TensorFlow's INTEGER_ACCURATE and Pillow do.

  Args:
    data: the content of a picture file, or an array of uint8 or uint16:
      grey (h w), or (h w c) with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4
      (RGB, alpha) channels.

  Raises:
    DataError: no picture, or a damaged one; says what it is instead.
  """
  if isinstance(data, np.ndarray):
    return _from_array(data)
  data = bytes(data)
  if data[:2] == b"\xff\xd8":
    exif, channels = _jpeg_facts(data)
    if channels in (1, 3):
      try:
        pixels = simplejpeg.decode_jpeg(
            data, "RGB", fastdct=False, fastupsample=False)
        return _upright(pixels, data) if exif else pixels
      except ValueError:
        pass  # Pillow is more tolerant, and finds out what is wrong.
  return _decode_any(data)


def _jpeg_facts(data: bytes) -> tuple[bool, int]:
  """Returns whether a JPEG carries EXIF, and its number of channels.

  A walk over the few segments before the pixels; (True, 0) if they are not
  as they should be.
  """
  exif, at = False, 2
  while at + 10 <= len(data) and data[at] == 0xFF:
    marker = data[at + 1]
    if marker == 0xFF:  # Padding.
      at += 1
      continue
    if marker == 0xE1 and data[at + 4:at + 8] == b"Exif":
      exif = True
    if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
      return exif, data[at + 9]  # Start of frame.
    at += 2 + int.from_bytes(data[at + 2:at + 4], "big")
  return True, 0


def _decode_any(data: bytes) -> UInt8[np.ndarray, "h w 3"]:
  """Decodes any format that Pillow knows."""
  try:
    with Image.open(io.BytesIO(data)) as image:
      image.load()  # Turns a TIFF upright, and its EXIF says so then.
      return _upright(_to_rgb(image), image)
  except DataError:
    raise
  except Exception as error:  # Pillow's decoders raise all sorts of errors.
    raise DataError(_describe(data, error)) from error


def _upright(
    pixels: UInt8[np.ndarray, "h w 3"], image: bytes | Image.Image,
) -> UInt8[np.ndarray, "h2 w2 3"]:
  """Turns the pixels as the EXIF of the file or image says."""
  try:
    if isinstance(image, bytes):
      image = Image.open(io.BytesIO(image))
    orientation = image.getexif().get(_ORIENTATION, 1)
  except Exception:  # Damaged EXIF does not make a damaged picture.
    orientation = 1
  if orientation in _UPRIGHT:
    swap, rows, columns = _UPRIGHT[orientation]
    pixels = pixels.swapaxes(0, 1) if swap else pixels
    pixels = pixels[::-1 if rows else 1, ::-1 if columns else 1]
  return np.ascontiguousarray(pixels)


def _to_rgb(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
  """Converts a loaded picture of any mode."""
  mode = image.mode
  if mode.startswith("I;16") or (mode == "I" and image.format == "PNG"):
    return _from_array(np.asarray(image).astype(np.uint16))
  if mode in ("I", "F"):
    raise DataError(f"a {image.format} picture of 32 bits per channel, whose "
                    "black and white are not defined; save it with 8 or 16")
  if mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
    # Adobe's files store ink inverted, and Pillow takes every file for one.
    image = Image.eval(image, lambda ink: 255 - ink)
  if image.has_transparency_data:
    return _from_array(np.asarray(image.convert("RGBA")))
  return np.asarray(image.convert("RGB"))


def _from_array(
    array: Shaped[np.ndarray, "..."],
) -> UInt8[np.ndarray, "h w 3"]:
  """Converts grey, grey and alpha, RGB or RGBA numbers to RGB on white."""
  if (array.dtype not in (np.uint8, np.uint16) or not array.size
      or array.ndim not in (2, 3) or array.shape[2:] > (4,)):
    raise DataError(f"an array {array.dtype}{list(array.shape)}; expected "
                    "uint8 or uint16, (h w) or (h w c) with 1 to 4 channels")
  if array.dtype == np.uint16:
    array = np.rint(array / 257).astype(np.uint8)
  if array.ndim == 2:
    array = array[..., None]
  channels = array.shape[-1]
  color, alpha = array, None
  if channels in (2, 4):
    color, alpha = array[..., :-1], array[..., -1:].astype(np.uint32)
    color = ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(
        np.uint8)
  if color.shape[-1] == 1:
    color = np.repeat(color, 3, axis=-1)
  return np.ascontiguousarray(color)


def _describe(data: bytes, error: Exception) -> str:
  """Says what a file is that cannot be decoded."""
  if not data:
    return "an empty file, not a picture"
  for start, name in _PICTURES:
    if data.startswith(start):
      reason = str(error)
      if "truncated" in reason or "Truncated" in reason:
        return f"a truncated {name} picture of {len(data)} bytes"
      if "decompression bomb" in reason:
        return f"a {name} picture too large to open: {reason}"
      if "cannot identify" in reason:
        return f"a {name} picture of {len(data)} bytes with a damaged header"
      return f"a damaged {name} picture of {len(data)} bytes ({reason})"
  start = data[:512].lstrip().lower()
  for magic, name in _IMPOSTORS:
    if start.startswith(magic):
      return f"not a picture but {name}"
  if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
    return "a HEIC picture, which cannot be read; save it as JPEG"
  if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in data[:512]):
    return f"not a picture but text: {data[:40].decode('ascii')!r}"
  return f"not a picture, or of an unknown format ({len(data)} bytes)"

"""What kind of picture a file is, and how large, from its first bytes alone.

Only the kinds of FORMATS are ever handed to a decoder: PostScript, for one,
would be run by an interpreter.
"""

import struct

from vit_jax.errors import DataError

# How a file begins -> (Pillow's name of the format, what people call it).
FORMATS = (
    (b"\xff\xd8\xff", "JPEG", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG", "PNG"),
    (b"GIF87a", "GIF", "GIF"), (b"GIF89a", "GIF", "GIF"),
    (b"BM", "BMP", "BMP"),
    (b"II*\0", "TIFF", "TIFF"), (b"MM\0*", "TIFF", "TIFF"),
    (b"II+\0", "TIFF", "BigTIFF"), (b"MM\0+", "TIFF", "BigTIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000", "JPEG 2000"),
    (b"\0\0\1\0", "ICO", "ICO"),
    (b"icns", "ICNS", "ICNS"), (b"8BPS\0\1", "PSD", "Photoshop"),
    (b"qoif", "QOI", "QOI"), (b"\x01\xda", "SGI", "SGI"),
    *((b"P%d" % kind + space, "PPM", name)
      for kind, name in enumerate(("PBM", "PGM", "PPM") * 2, 1)
      for space in (b" ", b"\t", b"\n", b"\r")),
)
# The brand of a file of the ISO family, at byte 8.
_BRANDS = {
    b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC",
    b"heim": "HEIC", b"heis": "HEIC", b"hevc": "HEIC", b"hevx": "HEIC",
    b"mif1": "HEIF", b"msf1": "HEIF", b"crx ": "Canon raw"}
# Files that are not read, or are no pictures: how they begin -> what they are.
_OTHERS = (
    (b"\xff\x0a", "a JPEG XL picture, which cannot be read; save it as PNG"),
    (b"\0\0\0\x0cjxl \r\n\x87\n",
     "a JPEG XL picture, which cannot be read; save it as PNG"),
    (b"ii\xbc\1", "a JPEG XR picture, which cannot be read; save it as PNG"),
    (b"\x76\x2f\x31\1",
     "an OpenEXR picture, whose black and white are not defined; save it as "
     "PNG"),
    (b"#?radiance", "a Radiance HDR picture, whose black and white are not "
     "defined; save it as PNG"),
    (b"pf\n", "a PFM picture of floats, whose black and white are not defined; "
     "save it as PNG"),
    (b"%!ps", "not a picture but PostScript, which is never run"),
    (b"\xc5\xd0\xd3\xc6", "not a picture but PostScript, which is never run"),
    (b"%pdf", "not a picture but a PDF file"),
    (b"<!doctype html", "not a picture but an HTML page"),
    (b"<html", "not a picture but an HTML page"),
    (b"<svg", "not a picture but an SVG drawing"),
    (b"<?xml", "not a picture but an XML file"),
    (b"version https://git-lfs",
     "not a picture but a Git LFS pointer; run git lfs pull"),
    (b"pk\x03\x04", "not a picture but a zip file"),
    (b"\x1f\x8b", "not a picture but a gzip file"),
    (b"\x93numpy", "not a picture but a numpy array"))

# Start-of-frame markers of a JPEG that no decoder here reads.
_JPEG_PROCESSES = {
    0xC3: "a lossless JPEG", 0xC5: "a hierarchical JPEG",
    0xC6: "a hierarchical JPEG", 0xC7: "a lossless hierarchical JPEG",
    0xCB: "a lossless JPEG", 0xCD: "a hierarchical JPEG",
    0xCE: "a hierarchical JPEG", 0xCF: "a lossless hierarchical JPEG",
    0xF7: "a JPEG-LS picture"}


def recognize(data: bytes) -> tuple[str, str] | None:
  """Returns (Pillow's format, its usual name), None for other files."""
  for start, pillow, name in FORMATS:
    if data.startswith(start):
      return pillow, name
  if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
    return "WEBP", "WebP"
  if data[4:8] == b"ftyp" and _brand(data) == "AVIF":
    return "AVIF", "AVIF"
  if data[-18:-1] == b"TRUEVISION-XFILE." and len(data) > 44:
    return "TGA", "TGA"
  if data.startswith(b"\0\0\2\0"):  # So does a TGA without compression.
    return "CUR", "CUR"
  if data[:1] == b"\x0a" and data[1:2] in b"\0\2\3\4\5" and data[2:3] == b"\1":
    return "PCX", "PCX"
  return None


def _brand(data: bytes) -> str | None:
  """Returns the kind of a file of the ISO family, by its brands."""
  length = min(int.from_bytes(data[:4], "big"), 256)
  brands = [data[8:12], *(data[at:at + 4] for at in range(16, length, 4))]
  kinds = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
  # mif1 says "some HEIF"; the others say with which codec.
  return next((kind for kind in kinds if kind != "HEIF"), (*kinds, None)[0])


def describe_other(data: bytes) -> str:
  """Returns what a file is that is none of FORMATS."""
  if not data:
    return "an empty file, not a picture"
  start = data[:512].lstrip().lower()
  for magic, text in _OTHERS:
    if start.startswith(magic):
      return text
  if data[4:8] == b"ftyp":
    kind = _brand(data)
    return (f"a {kind} picture, which cannot be read; save it as JPEG" if kind
            else "not a picture but a film or sound of the MP4 family")
  if data[:4] == b"RIFF":
    return "not a picture but a RIFF file, such as sound or video"
  if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in data[:512]):
    return f"not a picture but text: {data[:40].decode('ascii')!r}"
  return f"not a picture, or of an unknown format ({len(data)} bytes)"


class JpegHeader:
  """The facts before the pixels of a JPEG.

  Attributes:
    exif: whether there is EXIF data.
    size: (height, width) in pixels, None where no frame was found.
    channels: 1 grey, 3 YCbCr or RGB, 4 CMYK or YCCK; 0 where not found.
    unsupported: what it is ("a lossless JPEG") where it cannot be read, "".
  """

  def __init__(self, data: bytes) -> None:
    self.exif, self.channels, self.unsupported = False, 0, ""
    self.size: tuple[int, int] | None = None
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
      marker = data[at + 1]
      if marker == 0xFF:  # Padding.
        at += 1
        continue
      if marker == 0xE1 and data[at + 4:at + 8] == b"Exif":
        self.exif = True
      if marker == 0xF7 or (
          0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
        bits, height, width, self.channels = struct.unpack_from(
            ">BHHB", data, at + 4)
        self.size = height, width
        self.unsupported = _JPEG_PROCESSES.get(marker, "")
        if bits != 8 and not self.unsupported:
          self.unsupported = f"a JPEG of {bits} bits per channel"
        return
      if marker == 0xDA:
        return
      at += 2 + int.from_bytes(data[at + 2:at + 4], "big")


def check_jpeg2000(data: bytes) -> None:
  """Raises DataError for a JPEG 2000 that Pillow misreads without a word.

  Colours of more than 8 bits: rounded to 8, the brightest become black
  (65,535 to 256, of which a byte keeps 0). Grey has 16 bits.
  """
  start = data.find(b"\xff\x4f\xff\x51")  # Codestream, and its sizes.
  components = int.from_bytes(data[start + 40:start + 42], "big")
  depths = data[start + 42:start + 42 + 3 * components:3]
  bits = max(((depth & 0x7F) + 1 for depth in depths), default=8)
  if start >= 0 and components > 1 and bits > 8:
    raise DataError(
        f"a JPEG 2000 picture of {bits} bits per colour, which cannot be read; "
        "save it as PNG")


def webp_size(data: bytes) -> tuple[int, int] | None:
  """Returns (height, width) of a WebP file, None where its header is odd.

  Its decoder takes memory for the whole picture as soon as it is opened.
  """
  kind, body = data[12:16], data[20:30]
  if len(body) < 10:
    return None
  if kind == b"VP8X":
    width, height = (1 + int.from_bytes(body[i:i + 3], "little")
                     for i in (4, 7))
    return height, width
  if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
    width, height = struct.unpack_from("<HH", body, 6)
    return height & 0x3FFF, width & 0x3FFF
  if kind == b"VP8L" and body[0] == 0x2F:
    bits = int.from_bytes(body[1:5], "little")
    return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
  return None

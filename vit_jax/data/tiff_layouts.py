"""Which of TIFF's many layouts of samples are read, and what they mean.

Pillow reads some of them wrongly without a word: each layout that is read
here is compared with its specification in tests/data/test_decode_layouts.py.
"""

from collections.abc import Mapping
import io
from typing import Any

from jaxtyping import UInt16
import numpy as np
from PIL import TiffImagePlugin

from vit_jax.errors import DataError

_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES = 258, 259, 262, 277
_PLANAR, _EXTRA, _FORMAT = 284, 338, 339
_SUBFILE, _SUB_IFDS, _DNG_VERSION = 254, 330, 50706
_FORMATS = {1: "unsigned", 2: "signed", 3: "float", 4: "undefined",
            5: "complex", 6: "complex"}
_COLORS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK",
           6: "YCbCr", 8: "CIELab", 9: "ICCLab", 10: "ITULab"}


def check_tiff(data: bytes) -> None:
  """Raises DataError for a layout that Pillow refuses or misreads.

  Args:
    data: the file's content.
  """
  try:
    head = 16 if b"+" in data[2:4] else 8  # BigTIFF
    tags = TiffImagePlugin.ImageFileDirectory_v2(data[:head])
    file = io.BytesIO(data)
    file.seek(tags.next)
    tags.load(file)
    layout = _Layout(tags)
    reduced = _number(tags, _SUBFILE, 0) & 1
  except DataError:
    raise
  except Exception:  # A damaged directory: the decoder says what is wrong.
    return
  if _DNG_VERSION in tags or reduced and _SUB_IFDS in tags:
    # The first picture of DNG, NEF and the like is a small preview.
    raise DataError(
        "a camera's raw picture in a TIFF file, of which only the preview can "
        "be read; develop it, and save it as JPEG")
  if layout.sample_format != 1:
    raise DataError(
        f"a TIFF picture of {layout.name}, whose black and white are not "
        "defined; save it with 8 or 16 bits")
  if layout.misread():
    raise DataError(
        f"a TIFF picture of {layout.name}, which cannot be read; save it as "
        "PNG, or as TIFF with interleaved samples of 8 bits")


def tiff_samples(
    tags: Mapping[int, Any], samples: UInt16[np.ndarray, "h w"]
) -> UInt16[np.ndarray, "h w"]:
  """Returns grey samples of 12 or 16 bits with black 0 and white 65535."""
  layout = _Layout(tags)
  top = 2**layout.bits - 1
  if layout.photometric == 0:  # WhiteIsZero
    samples = top - samples
  if top != 65535:
    samples = np.rint(samples * (65535 / top)).astype(np.uint16)
  return samples


def _number(tags: Mapping[int, Any], tag: int, default: int) -> int:
  """Returns a tag's whole number; DataError where it is anything else."""
  return _numbers({tag: (tags.get(tag, default),)}, tag, ())[0]


def _numbers(
    tags: Mapping[int, Any], tag: int, default: tuple[int, ...]
) -> tuple[int, ...]:
  """Returns a tag's whole numbers; DataError where it is anything else."""
  found = tags.get(tag, default)
  if not isinstance(found, tuple) or any(type(x) is not int for x in found):
    raise DataError(f"a TIFF picture whose tag {tag} is not a whole number")
  return found


class _Layout:
  """What the tags say about the samples."""

  def __init__(self, tags: Mapping[int, Any]) -> None:
    bits = _numbers(tags, _BITS, (1,))
    self.bits = max(bits)
    self.uneven = len(set(bits)) > 1
    self.count = _number(tags, _SAMPLES, len(bits))
    self.photometric = _number(tags, _PHOTOMETRIC, 0)
    self.planar = _number(tags, _PLANAR, 1) == 2 and self.count > 1
    self.uncompressed = _number(tags, _COMPRESSION, 1) == 1
    self.big_endian = getattr(tags, "prefix", b"II") == b"MM"
    self.extra = _numbers(tags, _EXTRA, ())
    formats = set(_numbers(tags, _FORMAT, (1,)))
    self.sample_format = formats.pop() if len(formats) == 1 else 4

  @property
  def name(self) -> str:
    """Returns "planar 16-bit RGB samples with 1 more channel" and the like."""
    color = _COLORS.get(
        self.photometric, f"photometric-{self.photometric}")
    kind = "" if self.sample_format == 1 else (
        f"{_FORMATS.get(self.sample_format, 'undefined')} ")
    more = (f" with {len(self.extra)} more channel"
            f"{'s' * (len(self.extra) > 1)}" if self.extra else "")
    order = "big-endian " if self.bits > 8 and self.big_endian else ""
    planes = "planar " if self.planar else ""
    white = " (white is zero)" if self.photometric == 0 else ""
    return (f"{planes}{kind}{order}{self.bits}-bit {color} samples{more}"
            f"{white}")

  def misread(self) -> bool:
    """Whether Pillow refuses it, or would make other pixels of it."""
    if self.uneven or self.bits not in (1, 2, 4, 8, 12, 16):
      return True
    if self.photometric in (0, 1):
      if self.count > 1:  # Alpha is read where it is interleaved, in 8 bits.
        return self.planar or self.bits != 8
      inverted = self.photometric == 0
      return (self.bits == 12 and (inverted or self.big_endian)
              or self.bits == 16 and inverted and self.big_endian)
    if self.bits not in (8, 16):
      return self.photometric != 3  # Palettes have 1 to 8 bits.
    if self.photometric in (8, 9, 10):
      return self.bits != 8 or self.planar
    if self.planar and self.uncompressed:
      return self.bits == 16 or self.extra[:1] in ((0,), (1,))
    return False

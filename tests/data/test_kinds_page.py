"""docs/own-images-kinds.md says what happens to each kind: it is so."""

import io
import pathlib
import re

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin
import pytest
from test_decode_layouts import bomb, jpeg, with_frame

from vit_jax.data import picture_kinds
from vit_jax.data.decode import MAX_PIXELS, decode
from vit_jax.errors import DataError

PAGE = pathlib.Path(__file__).parents[2] / "docs/own-images-kinds.md"
TEXT = PAGE.read_text(encoding="utf-8")


def table(heading):
  """Returns the rows below a heading of the page."""
  section = TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
  rows = [[cell.strip() for cell in line.strip("|").split(" | ")]
          for line in section.splitlines() if line.startswith("| ")]
  return rows[1:]


def encode(kind, mode="RGB", **options):
  file = io.BytesIO()
  Image.new(mode, (9, 7)).save(file, kind, **options)
  return file.getvalue()


def noise(kind):
  pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, kind)
  return file.getvalue()


def raw(tags):
  """Returns a TIFF whose first picture is small, as cameras' raw files are."""
  directory = TiffImagePlugin.ImageFileDirectory_v2()
  for tag, value in tags.items():
    directory.tagtype[tag] = 1 if isinstance(value, bytes) else 4
    directory[tag] = value
  return encode("TIFF", tiffinfo=directory)


def jpeg2000(channels):
  """Returns a ramp of 16 bits to white; Pillow makes its white black."""
  ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64, 1).astype(np.uint16)
  whole, data = cv2.imencode(".jp2", np.repeat(ramp, channels, axis=-1), [
      cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])
  assert whole
  return data.tobytes()


FILES = {
    "lossless JPEG": with_frame(jpeg(), 0xC3),
    "hierarchical JPEG": with_frame(jpeg(), 0xC5),
    "JPEG-LS": with_frame(jpeg(), 0xF7),
    "JPEG of 12 bits": with_frame(jpeg(), 0xC1, 12),
    "JPEG 2000 of colours of 16 bits": jpeg2000(3),
    "JPEG XL": b"\xff\x0a" + bytes(60),
    "HEIC, as telephones write": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "camera raw: DNG, NEF": raw({50706: b"\1\4\0\0"}),
    "camera raw: CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    "TIFF of floats": encode("TIFF", "F"),
    "OpenEXR": b"\x76\x2f\x31\x01" + bytes(60),
    "Radiance HDR": b"#?RADIANCE\n",
    "PostScript, EPS, whatever its name": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "PDF": b"%PDF-1.7\n",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "web page": b"<!DOCTYPE html><html>",
    "film": b"\0\0\0\x18ftypisom\0\0\0\1isomavc1",
    "text": b"file_name,label\n",
    "empty file": b"",
    "truncated PNG": noise("PNG")[:120],
    "PNG of 40,000 x 40,000 pixels": bomb("PNG"),
}


def test_each_refused_kind_has_a_file():
  assert {row[0] for row in table("Refused")} == set(FILES)


@pytest.mark.parametrize("kind, message", table("Refused"))
def test_a_refused_kind_is_called_so(kind, message):
  with pytest.raises(DataError) as error:
    decode(FILES[kind])
  assert message in str(error.value) and "\n" not in str(error.value)


def test_jpeg_2000_of_16_bits():
  grey = decode(jpeg2000(1))
  assert grey[0, 0, 0] == 0 and grey[-1, -1, 0] == 255
  with pytest.raises(DataError, match="a JPEG 2000 picture of 16 bits"):
    decode(jpeg2000(4))


def test_the_first_picture_of_a_raw_file_is_no_picture_of_it():
  assert decode(raw({})).shape == (7, 9, 3)
  assert decode(raw({254: 1})).shape == (7, 9, 3)  # A thumbnail by itself.
  with pytest.raises(DataError, match="a camera's raw picture in a TIFF"):
    decode(raw({254: 1, 330: 8}))  # As Nikon's NEF.


def test_all_formats_that_are_read_are_on_the_page():
  names = {name for _, _, name in picture_kinds.FORMATS} | {
      "WebP", "AVIF", "TGA", "PCX", "CUR"}
  shown = {name for kind, _ in table("Read") for name in kind.split(", ")}
  assert shown == names


def test_the_limit_is_the_one_on_the_page():
  limit = re.search(r"limit of ([\d,]+) pixels", TEXT)[1]
  assert int(limit.replace(",", "")) == MAX_PIXELS


def test_colour_profiles_are_ignored():
  icc = bytes(128)
  plain, tagged = (Image.fromarray(np.full((4, 4, 3), 200, np.uint8))
                   for _ in range(2))
  files = io.BytesIO(), io.BytesIO()
  plain.save(files[0], "PNG")
  tagged.save(files[1], "PNG", icc_profile=icc)
  assert (decode(files[0].getvalue()) == decode(files[1].getvalue())).all()
  assert b"iCCP" in files[1].getvalue()


def test_a_page_with_several_pictures_shows_the_first():
  first, second = (Image.new("RGB", (3, 2), color) for color in ("red", "blue"))
  file = io.BytesIO()
  first.save(file, "TIFF", save_all=True, append_images=[second])
  assert (decode(file.getvalue()) == (255, 0, 0)).all()

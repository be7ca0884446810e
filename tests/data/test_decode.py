"""Decoding: files of every kind come out as RGB as a person sees them."""

import io

import numpy as np
from PIL import Image
import pytest

from vit_jax.data.decode import decode
from vit_jax.errors import DataError

# A small picture without any symmetry: red and green ramps, a blue corner.
RGB = np.zeros((24, 40, 3), np.uint8)
RGB[..., 0] = np.linspace(0, 250, 40)
RGB[..., 1] = np.linspace(0, 250, 24)[:, None]
RGB[:8, :8, 2] = 200
GREY = RGB[..., 0]
ALPHA = np.broadcast_to(
    np.linspace(0, 255, 40).astype(np.uint8), GREY.shape)


def encode(array, kind="PNG", mode=None, **options):
  image = array if isinstance(array, Image.Image) else Image.fromarray(array)
  image = image.convert(mode) if mode else image
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


def on_white(color, alpha):
  weight = alpha[..., None] / 255
  return color * weight + 255 * (1 - weight)


def assert_shows(data, expected, tolerance=0.0):
  image = decode(data)
  assert image.dtype == np.uint8
  assert image.flags.c_contiguous
  assert image.shape == (*expected.shape[:2], 3)
  error = np.abs(image.astype(float) - expected).max()
  assert error <= tolerance, error


@pytest.mark.parametrize(
    "name", ["landscape.jpg", "portrait.jpg", "gray.jpg", "gray.png"])
def test_equals_tensorflow(goldens, name):
  expected = np.load(goldens / "preprocessing.expected.npz")[f"{name}/decoded"]
  data = (goldens / name).read_bytes()
  np.testing.assert_array_equal(decode(data), expected)


def test_equality_with_tensorflow_can_fail(goldens):
  import simplejpeg

  expected = np.load(goldens / "preprocessing.expected.npz")
  data = (goldens / "landscape.jpg").read_bytes()
  quick = simplejpeg.decode_jpeg(data, "RGB", fastdct=True, fastupsample=True)
  assert (quick != expected["landscape.jpg/decoded"]).any()


@pytest.mark.parametrize(
    "kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP", "JPEG", "JPEG2000",
             "TGA", "PCX", "SGI", "QOI"])
def test_formats(kind):
  options = {"JPEG": {"quality": 95, "subsampling": 0},
             "WEBP": {"lossless": True}}.get(kind, {})
  tolerance = {"JPEG": 12, "GIF": 60}.get(kind, 0)
  assert_shows(encode(RGB, kind, **options), RGB, tolerance)


def test_progressive_jpeg():
  plain, progressive = (
      decode(encode(RGB, "JPEG", progressive=flag)) for flag in (False, True))
  np.testing.assert_array_equal(plain, progressive)


def test_grey():
  expected = np.repeat(GREY[..., None], 3, axis=-1)
  assert_shows(encode(GREY), expected)
  assert_shows(encode(GREY, "JPEG", quality=98), expected, 4)
  assert_shows(encode((GREY > 128), "PNG"), 255 * (expected > 128))


def test_alpha_is_shown_on_white():
  rgba = np.dstack([RGB, ALPHA])
  expected = on_white(RGB, ALPHA)
  assert_shows(encode(rgba), expected, 0.51)
  assert_shows(encode(rgba, "WEBP", lossless=True, exact=True), expected, 0.51)
  grey = np.dstack([GREY, ALPHA])
  grey_on_white = on_white(np.repeat(GREY[..., None], 3, axis=-1), ALPHA)
  assert_shows(encode(grey), grey_on_white, 0.51)
  # What is wholly transparent is white, whatever colour hides behind it.
  assert (decode(encode(rgba))[:, 0] == 255).all()


def test_palette_with_transparency():
  image = Image.new("P", (2, 1))
  image.putpalette([0, 0, 0, 10, 20, 30])
  image.putpixel((1, 0), 1)
  for transparency in (0, bytes([0, 255])):
    data = encode(image, transparency=transparency)
    assert decode(data).tolist() == [[[255] * 3, [10, 20, 30]]]
  assert decode(encode(image)).tolist() == [[[0] * 3, [10, 20, 30]]]
  assert decode(encode(image, "GIF", transparency=0)).tolist() == [
      [[255] * 3, [10, 20, 30]]]


def test_color_key_transparency():
  data = encode(RGB, transparency=tuple(map(int, RGB[0, 0])))
  image = decode(data)
  assert image[0, 0].tolist() == [255, 255, 255]
  np.testing.assert_array_equal(image[-1], RGB[-1])


def test_sixteen_bits():
  ramp = np.linspace(0, 65535, 40).astype(np.uint16)
  grey = np.broadcast_to(ramp, (24, 40))
  expected = np.repeat((grey / 257)[..., None], 3, axis=-1)
  assert_shows(encode(grey), expected, 0.51)
  assert_shows(encode(grey, "TIFF"), expected, 0.51)
  # Pillow cannot write 16-bit RGB; OpenCV can.
  import cv2

  rgb = (RGB.astype(np.uint16) * 257)
  data = cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()
  assert_shows(data, RGB)


def test_cmyk_jpeg():
  """Ink is stored inverted if the file has Adobe's marker, else plainly."""
  cmyk = Image.fromarray(RGB).convert("CMYK")
  data = encode(cmyk, "JPEG", quality=98, subsampling=0)
  marker = data.index(b"\xff\xee\x00\x0eAdobe")
  assert_shows(data, RGB, 12)
  # The same numbers without the marker mean the opposite amounts of ink.
  inverted = Image.fromarray(255 - np.asarray(cmyk), "CMYK")
  plain = encode(inverted, "JPEG", quality=98, subsampling=0)
  plain = plain[:marker] + plain[marker + 16:]
  assert b"Adobe" not in plain
  assert_shows(plain, RGB, 12)


# As cameras mean them: what must be done to the stored picture.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(kind, orientation):
  exif = Image.Exif()
  exif[0x0112] = orientation
  options = {"JPEG": {"quality": 95, "subsampling": 0},
             "WEBP": {"lossless": True}}.get(kind, {})
  data = encode(RGB, kind, exif=exif, **options)
  assert_shows(data, UPRIGHT[orientation](RGB), 12 if kind == "JPEG" else 0)


def test_turned_jpeg_has_the_pixels_of_the_plain_one():
  exif = Image.Exif()
  exif[0x0112] = 6
  plain, turned = encode(RGB, "JPEG"), encode(RGB, "JPEG", exif=exif)
  np.testing.assert_array_equal(decode(turned), np.rot90(decode(plain), -1))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_no_damaged_picture():
  data = encode(RGB, "JPEG", quality=95, subsampling=0)
  junk = b"Exif\0\0MM\0*\0\0\xff\xff"
  data = (data[:2] + b"\xff\xe1" + (len(junk) + 2).to_bytes(2, "big") + junk
          + data[2:])
  assert_shows(data, RGB, 12)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_show_their_first_frame(kind):
  first = np.full((6, 8, 3), (250, 0, 0), np.uint8)
  second = Image.fromarray(first[..., ::-1].copy())
  options = {"lossless": True} if kind == "WEBP" else {}
  data = encode(first, kind, save_all=True, append_images=[second], **options)
  with Image.open(io.BytesIO(data)) as image:
    assert image.n_frames == 2
  assert_shows(data, first)


def test_arrays():
  expected = np.repeat(GREY[..., None], 3, axis=-1)
  assert_shows(GREY, expected)
  assert_shows(GREY[..., None], expected)
  assert_shows(RGB[:, ::-1], RGB[:, ::-1])
  assert_shows(GREY.astype(np.uint16) * 257, expected)
  assert_shows(np.dstack([RGB, ALPHA]), on_white(RGB, ALPHA), 0.51)
  for wrong in (RGB / 255, RGB[..., None], RGB[:0], np.zeros((2, 2, 5), "u1")):
    with pytest.raises(DataError, match="expected uint8"):
      decode(wrong)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_truncated_files_are_refused_by_name(kind):
  data = encode(RGB, kind)
  name = {"WEBP": "WebP"}.get(kind, kind)
  for length in (len(data) // 2, 24):
    with pytest.raises(DataError, match=f"(truncated|damaged).*{name} picture"
                       f"|{name} picture.*damaged"):
      decode(data[:length])


@pytest.mark.parametrize(("data", "message"), [
    (b"", "empty file"),
    (b"<!DOCTYPE html><html><body>404", "an HTML page"),
    (b"\n<HTML>", "an HTML page"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
    (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    (b"PK\x03\x04 and so on", "a zip file"),
    (b"file not found\n", "but text: 'file not found"),
    (bytes(100), r"unknown format \(100 bytes\)"),
    (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC picture"),
    (b"\xff\xd8\xff\xe0 nothing more", "JPEG picture of 17 bytes"),
])
def test_other_files_are_called_what_they_are(data, message):
  with pytest.raises(DataError, match=message) as error:
    decode(data)
  assert "\n" not in str(error.value)
  assert "BytesIO" not in str(error.value)


def test_float_pictures_have_no_black_and_white():
  data = encode(GREY.astype(np.float32) / 255, "TIFF")
  with pytest.raises(DataError, match="TIFF picture of float 32-bit"):
    decode(data)

"""Every layout of samples comes out as its specification says, or is refused.

The files are written byte by byte (made_pictures.py), so that no library
judges itself. Chromium is the arbiter of what a browser shows.
"""

import base64
import io
import json

import browser
from made_pictures import (
    apng,
    bmp32,
    chunk,
    gif,
    jpeg_segments,
    png,
    pnm,
    ramps,
    scale,
    tiff,
)
import numpy as np
from PIL import Image
import pytest

from vit_jax.data import decode as decode_module
from vit_jax.data.decode import decode
from vit_jax.data.picture_kinds import JpegHeader, webp_size
from vit_jax.errors import DataError

PALETTE = np.random.default_rng(0).integers(0, 256, (16, 3))


def rgb(grey):
  grey = grey[..., 0] if grey.ndim == 3 else grey
  return np.repeat(grey[..., None], 3, axis=-1)


def on_white(color, alpha):
  weight = alpha[..., None] / 255
  return color * weight + 255 * (1 - weight)


def png_cases():
  for bits in (1, 2, 4, 8, 16):
    samples = ramps(bits, 1)
    grey = rgb(scale(samples, bits))
    yield f"grey {bits}", png(samples, bits, 0), grey
    for key in sorted({0, 1, int(samples[2, 5, 0]), int(samples.max())}):
      yield f"grey {bits} with the key {key}", png(
          samples, bits, 0, transparency=key.to_bytes(2, "big")), on_white(
              grey, 255 * (samples[..., 0] != key))
  for bits in (1, 2, 4):
    samples = ramps(bits, 1)
    palette = PALETTE[:2**bits]
    yield f"palette {bits}", png(samples, bits, 3, palette=palette), palette[
        samples[..., 0]]
    alpha = np.linspace(0, 255, 2**bits).astype(np.uint8)
    yield f"palette {bits} with alpha", png(
        samples, bits, 3, palette=palette,
        transparency=alpha.tobytes()), on_white(
            palette[samples[..., 0]], alpha[samples[..., 0]])
  for bits in (8, 16):
    samples = ramps(bits, 3)
    yield f"RGB {bits}", png(samples, bits, 2), scale(samples, bits)
    key = samples[2, 5]
    yield f"RGB {bits} with a key", png(
        samples, bits, 2, transparency=key.astype(">u2").tobytes()), on_white(
            scale(samples, bits), 255 * (samples != key).any(-1))
    samples = ramps(bits, 2)
    yield f"grey and alpha {bits}", png(samples, bits, 4), on_white(
        rgb(scale(samples[..., 0], bits)), scale(samples[..., 1], bits))
    samples = ramps(bits, 4)
    yield f"RGBA {bits}", png(samples, bits, 6), on_white(
        scale(samples[..., :3], bits), scale(samples[..., 3], bits))


def frame_cases():
  indices = ramps(4, 1)[..., 0]
  shown = np.full((10, 24, 3), 255.0)
  shown[2:8, 3:20] = PALETTE[indices]
  yield "GIF, small frame", gif(
      indices, PALETTE, (24, 10), (3, 2), background=5), shown
  keyed = PALETTE[indices].astype(float)
  keyed[indices == 3] = 255
  yield "GIF, transparent", gif(
      indices, PALETTE, (17, 6), transparent=3), keyed
  shown = shown.copy()
  shown[2:8, 3:20] = keyed
  yield "GIF, small transparent frame", gif(
      indices, PALETTE, (24, 10), (3, 2), transparent=3), shown
  still = ramps(8, 4).astype(np.uint8)
  first = still[::-1].copy()
  first[..., 3] = 255
  yield "APNG, still picture apart", apng(
      still, [first, still], [(0, 0)] * 2,
      default_is_first=False), first[..., :3]
  yield "APNG, still picture first", apng(
      still, [still, first], [(0, 0)] * 2, default_is_first=True), on_white(
          still[..., :3], still[..., 3])
  small = first[:3, :5]
  shown = np.full((6, 17, 3), 255.0)
  shown[1:4, 2:7] = small[..., :3]
  yield "APNG, small frame", apng(
      still, [small], [(2, 1)], default_is_first=False), shown
  for name, masks in {"BGRA": (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
                      "RGBA": (0xFF, 0xFF00, 0xFF0000, 0xFF000000)}.items():
    yield f"BMP, {name}", bmp32(still, masks), on_white(
        still[..., :3], still[..., 3])
  yield "BMP, no alpha", bmp32(
      still, (0xFF0000, 0xFF00, 0xFF, 0)), still[..., :3]


def pnm_cases():
  for top in (1, 3, 15, 100, 255, 1023, 4095, 65535):
    for channels, kind in ((1, 5), (3, 6)):
      samples = np.rint(ramps(16, channels) * (top / 65535)).astype(int)
      shown = np.rint(samples * 255 / top)
      shown = rgb(shown) if channels == 1 else shown
      yield f"P{kind} up to {top}", pnm(samples, top, kind), shown
      yield f"P{kind - 3} up to {top}", pnm(
          samples, top, kind - 3, text=True), shown


def tiff_cases(**options):
  def made(samples, bits, photometric, **more):
    return tiff(samples, bits, photometric, **options, **more)

  if not options["planar"]:
    for bits in (1, 2, 4, 8, 12, 16):
      samples = ramps(bits, 1)
      grey = rgb(scale(samples, bits))
      yield f"grey {bits}", made(samples, bits, 1), grey
      yield f"grey {bits}, white is zero", made(samples, bits, 0), 255 - grey
    samples = ramps(4, 1)
    yield "palette", made(
        samples, 4, 3, palette=PALETTE * 257), PALETTE[samples[..., 0]]
  for bits in (8, 16):
    samples = ramps(bits, 3)
    yield f"RGB {bits}", made(samples, bits, 2), scale(samples, bits)
    samples = ramps(bits, 4)
    color, alpha = scale(samples[..., :3], bits), scale(samples[..., 3], bits)
    yield f"RGBA {bits}", made(
        samples, bits, 2, extra_samples=(2,)), on_white(color, alpha)
    yield f"RGBX {bits}", made(samples, bits, 2, extra_samples=(0,)), color
    premultiplied = samples.copy()
    premultiplied[..., :3] = np.rint(
        samples[..., :3] * (samples[..., 3:] / (2**bits - 1)))
    yield f"premultiplied RGBA {bits}", made(
        premultiplied, bits, 2, extra_samples=(1,)), on_white(color, alpha)
    ink = 255.0 - scale(samples, bits)
    yield f"CMYK {bits}", made(samples, bits, 5), ink[..., :3] * ink[
        ..., 3:] / 255
    samples = ramps(bits, 2)
    yield f"grey and alpha {bits}", made(
        samples, bits, 1, extra_samples=(2,)), on_white(
            rgb(scale(samples[..., 0], bits)), scale(samples[..., 1], bits))


def check(name, data, shown, tolerance=1.6):
  image = decode(data)
  assert image.dtype == np.uint8 and image.shape == shown.shape, name
  error = np.abs(image - shown.astype(float)).max()
  assert error <= tolerance, (name, error)


CASES = [*png_cases(), *frame_cases(), *pnm_cases()]


@pytest.mark.parametrize("name, data, shown", CASES, ids=[c[0] for c in CASES])
def test_samples_mean_what_the_specification_says(name, data, shown):
  check(name, data, shown)


def test_the_comparison_can_fail():
  name, data, shown = CASES[0]
  with pytest.raises(AssertionError):
    check(name, data, 255 - shown)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("planar", [False, True])
def test_tiff_is_read_right_or_refused_by_name(order, compressed, planar):
  refused = []
  cases = list(tiff_cases(order=order, compressed=compressed, planar=planar))
  for name, data, shown in cases:
    try:
      check(name, data, shown, 2.5)
    except DataError as error:
      assert "a TIFF picture of " in str(error), (name, error)
      assert "bit" in str(error) and "damaged" not in str(error), (name, error)
      refused.append(name)
  always_read = {"RGB 8", "RGBA 8", "CMYK 8"}
  assert not always_read & set(refused)
  if not planar:
    assert "RGB 16" not in refused and "grey 16" not in refused
    assert len(refused) <= 5, refused


@pytest.mark.parametrize("options, name", [
    ({"sample_format": 2}, "signed 8-bit grey samples"),
    ({"bits": 16, "sample_format": 2}, "signed 16-bit grey samples"),
    ({"bits": 32}, "32-bit grey samples"),
    ({"bits": 32, "sample_format": 3}, "float 32-bit grey samples"),
])
def test_tiff_without_black_and_white_is_refused_by_name(options, name):
  bits = options.pop("bits", 8)
  with pytest.raises(DataError, match=f"a TIFF picture of {name}"):
    decode(tiff(ramps(bits if bits < 32 else 16, 1), bits, 1, **options))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_orientation(orientation):
  samples = ramps(8, 3)
  turned = {1: samples, 2: samples[:, ::-1], 3: samples[::-1, ::-1],
            4: samples[::-1], 5: samples.transpose(1, 0, 2),
            6: np.rot90(samples, -1), 8: np.rot90(samples, 1),
            7: samples[::-1, ::-1].transpose(1, 0, 2)}[orientation]
  check("turned", tiff(samples, 8, 2, orientation=orientation), turned)


def jpeg(height=24, width=40, **options):
  x = np.linspace(0, 250, width).astype(np.uint8)
  picture = np.broadcast_to(x, (height, width))
  file = io.BytesIO()
  Image.fromarray(np.stack([picture] * 3, -1)).save(file, "JPEG", **options)
  return file.getvalue()


def with_frame(data, marker, bits=8, size=None):
  """Returns a JPEG that calls itself another process, depth or size."""
  start = next(start for found, start, _ in jpeg_segments(data)
               if found in (0xC0, 0xC2))
  data = bytearray(data)
  data[start + 1], data[start + 4] = marker, bits
  if size:
    data[start + 5:start + 9] = (
        size[0].to_bytes(2, "big") + size[1].to_bytes(2, "big"))
  return bytes(data)


@pytest.mark.parametrize("marker, bits, name", [
    (0xC3, 8, "a lossless JPEG"), (0xC5, 8, "a hierarchical JPEG"),
    (0xF7, 8, "a JPEG-LS picture"), (0xC1, 12, "a JPEG of 12 bits")])
def test_sound_jpegs_of_other_kinds_are_called_by_name(marker, bits, name):
  with pytest.raises(DataError, match=f"^{name}.*save it as PNG") as error:
    decode(with_frame(jpeg(), marker, bits))
  assert "damaged" not in str(error.value)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_without_its_end_marker_is_read(options):
  data = jpeg(**options)
  assert data.endswith(b"\xff\xd9")
  np.testing.assert_array_equal(decode(data[:-2]), decode(data))
  np.testing.assert_array_equal(decode(data + b"\0\0rubbish"), decode(data))
  for cut in (len(data) // 2, len(data) - 12):
    with pytest.raises(DataError, match="truncated JPEG"):
      decode(data[:cut])


@pytest.mark.parametrize("data, message", [
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
     "PostScript, which is never run"),
    (b"\xc5\xd0\xd3\xc6" + bytes(60), "PostScript, which is never run"),
    (b"\xff\x0a" + bytes(60), "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(60), "a JPEG XL picture"),
    (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "a HEIC picture"),
    (b"\0\0\0\x18ftypheix\0\0\0\0mif1heix", "a HEIC picture"),
    (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a Canon raw picture"),
    (b"\0\0\0\x18ftypisom\0\0\0\1isomavc1", "a film or sound"),
    (b"RIFF\x24\0\0\0WAVEfmt ", "a RIFF file"),
    (b"\x76\x2f\x31\x01" + bytes(60), "an OpenEXR picture"),
    (b"#?RADIANCE\n", "a Radiance HDR picture"),
    (b"Pf\n1 1\n-1.0\n\0\0\0\0", "a PFM picture of floats"),
])
def test_other_kinds_are_called_by_name(data, message):
  with pytest.raises(DataError, match=message) as error:
    decode(data)
  assert "damaged" not in str(error.value)


def test_postscript_never_reaches_an_interpreter(monkeypatch):
  import subprocess

  monkeypatch.setattr(subprocess, "Popen", None)
  eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
  for start in (b"", b"\n", b"\x04"):
    with pytest.raises(DataError):
      decode(start + eps)


def bomb(kind):
  """Returns a few hundred bytes that claim to be 40,000 x 40,000 pixels."""
  if kind == "JPEG":
    return with_frame(jpeg(), 0xC0, size=(40_000, 40_000))
  if kind == "PNG":
    head = (40_000).to_bytes(4, "big") * 2 + bytes([8, 6, 0, 0, 0])
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
            + chunk(b"IDAT", bytes(20)) + chunk(b"IEND", b""))
  if kind == "GIF":
    return gif(ramps(4, 1)[..., 0], PALETTE, (40_000, 40_000))
  if kind == "BMP":
    data = bytearray(bmp32(ramps(8, 4).astype(np.uint8)))
    data[18:26] = (40_000).to_bytes(4, "little") * 2
    return bytes(data)
  if kind == "PPM":
    return b"P6\n40000 40000\n255\n" + bytes(60)
  if kind == "WebP":
    size = (16_383).to_bytes(3, "little")
    return (b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0" + size + size
            + bytes(40))
  data = bytearray(tiff(ramps(8, 3), 8, 2))
  for tag in (256, 257):
    at = data.index(tag.to_bytes(2, "little") + b"\4\0\1\0\0\0")
    data[at + 8:at + 12] = (40_000).to_bytes(4, "little")
  return bytes(data)


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "GIF", "BMP", "PPM", "WebP", "TIFF"])
def test_one_limit_on_pixels_before_memory_is_touched(kind):
  import tracemalloc

  data = bomb(kind)
  tracemalloc.start()
  try:
    with pytest.raises(DataError, match=f"{kind} picture too large to open: "
                       r"\d+x\d+ pixels, and at most 134,217,728"):
      decode(data)
    assert tracemalloc.get_traced_memory()[1] < 20e6
  finally:
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "JPEG2000"])
def test_the_limit_is_the_same_for_all_formats(kind, monkeypatch):
  file = io.BytesIO()
  Image.new("RGB", (40, 25)).save(file, kind)
  monkeypatch.setattr(decode_module, "MAX_PIXELS", 1000)
  assert decode(file.getvalue()).shape == (25, 40, 3)
  monkeypatch.setattr(decode_module, "MAX_PIXELS", 999)
  with pytest.raises(DataError, match="40x25 pixels, and at most 999"):
    decode(file.getvalue())


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_sizes_of_webp(lossless, mode):
  file = io.BytesIO()
  Image.new(mode, (123, 45), (9, 200, 1, 77)[:len(mode)]).save(
      file, "WEBP", lossless=lossless)
  assert webp_size(file.getvalue()) == (45, 123)


def test_jpeg_headers():
  header = JpegHeader(jpeg(24, 40))
  assert (header.size, header.channels, header.exif, header.unsupported) == (
      (24, 40), 3, False, "")
  assert JpegHeader(b"\xff\xd8\xff\xe0 nothing").size is None


@pytest.mark.slow
@pytest.mark.skipif(not browser.find(), reason="no Chromium is installed")
def test_as_chromium_shows_it(tmp_path):
  """PNG, GIF, APNG, BMP and JPEG, on white, without colour management."""
  file = io.BytesIO()
  exif = Image.Exif()
  exif[0x0112] = 6
  Image.fromarray(ramps(8, 3).astype(np.uint8)).save(
      file, "JPEG", quality=98, subsampling=0, exif=exif)
  cases = [(name, data) for name, data, _ in CASES if name[0] != "P"
           or name.startswith("palette")]
  cases.append(("a turned JPEG", file.getvalue()))
  with browser.open_page(tmp_path / "profile") as page:
    for name, data in cases:
      theirs = shown_by(page, data)
      ours = decode(data).astype(float)
      assert ours.shape == theirs.shape, name
      tolerance = 6 if "JPEG" in name else 2
      assert np.abs(ours - theirs).max() <= tolerance, name


def shown_by(page, data):
  """Returns the pixels of a picture as the browser paints it on white."""
  url = "data:;base64," + base64.b64encode(data).decode()
  code = """async url => {
    const bytes = Uint8Array.from(
        atob(url.split(",")[1]), c => c.charCodeAt(0));
    const picture = new Image();
    picture.src = URL.createObjectURL(new Blob([bytes]));
    await picture.decode();
    const canvas = document.createElement("canvas");
    canvas.width = picture.naturalWidth; canvas.height = picture.naturalHeight;
    const context = canvas.getContext("2d");
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(picture, 0, 0);
    const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
    return JSON.stringify([canvas.height, canvas.width, Array.from(data)]);
  }"""
  result = page.send(
      "Runtime.evaluate", expression=f"({code})({json.dumps(url)})",
      awaitPromise=True, returnByValue=True)["result"]
  height, width, values = json.loads(result["value"])
  return np.array(values, float).reshape(height, width, 4)[..., :3]


def test_a_tag_that_is_no_number_is_one_line():
  # Found by fuzzing: SamplesPerPixel of the type "undefined", seven bytes.
  directory = (b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x15\x01\x07\0\x01\0\0\0"
               + b"f\0\0\0" + bytes(4))
  with pytest.raises(DataError, match="tag 277 is not a whole number"):
    decode(directory)

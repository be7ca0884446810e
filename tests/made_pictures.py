"""Picture files written from their specifications, byte by byte.

Libraries write only what they also read well; these write the rest: every bit
depth, either photometric interpretation, planes, keys, frames.
"""

import struct
import zlib

import numpy as np


def scale(values, bits):
  """Returns 8-bit values of samples of so many bits, rounded."""
  return np.rint(
      np.asarray(values, np.float64) * 255 / (2**bits - 1)).astype(np.uint8)


def ramps(bits, channels, height=6, width=17):
  """Returns (h, w, c) samples that differ from pixel to pixel and channel."""
  top = 2**bits - 1
  x = np.linspace(0, 1, width)[None, :, None]
  y = np.linspace(0, 1, height)[:, None, None]
  c = np.arange(channels) / max(1, channels)
  values = (0.7 * x + 0.3 * y + 0.37 * c) % 1.0
  values[0, 0], values[-1, -1] = 0, 1
  return np.rint(values * top).astype(np.uint16)


def pack(samples, bits, order=">"):
  """Returns rows of samples as bytes, each row padded to a whole byte."""
  rows = samples.reshape(len(samples), -1)
  if bits == 8:
    return [row.astype(np.uint8).tobytes() for row in rows]
  if bits == 16:
    return [row.astype(order + "u2").tobytes() for row in rows]
  shifts = np.arange(bits - 1, -1, -1)
  flat = (rows[..., None] >> shifts) & 1
  return [np.packbits(row.reshape(-1).astype(np.uint8)).tobytes()
          for row in flat]


def chunk(kind, data):
  """Returns one chunk of a PNG."""
  return (struct.pack(">I", len(data)) + kind + data
          + struct.pack(">I", zlib.crc32(kind + data)))


PNG = b"\x89PNG\r\n\x1a\n"


def png_header(samples, bits, color_type):
  height, width = samples.shape[:2]
  return chunk(b"IHDR", struct.pack(
      ">IIBBBBB", width, height, bits, color_type, 0, 0, 0))


def png_pixels(samples, bits):
  return zlib.compress(b"".join(b"\0" + row for row in pack(samples, bits)))


def png(samples, bits, color_type, *, palette=None, transparency=None,
        extra=b""):
  """Returns a PNG; `transparency` is the content of tRNS."""
  parts = [PNG, png_header(samples, bits, color_type), extra]
  if palette is not None:
    parts.append(chunk(b"PLTE", np.asarray(palette, np.uint8).tobytes()))
  if transparency is not None:
    parts.append(chunk(b"tRNS", transparency))
  parts += [chunk(b"IDAT", png_pixels(samples, bits)), chunk(b"IEND", b"")]
  return b"".join(parts)


def apng(default, frames, offsets, *, default_is_first):
  """Returns an animated PNG of 8-bit RGBA frames at offsets (x, y)."""
  def control(number, frame, offset):
    height, width = frame.shape[:2]
    return chunk(b"fcTL", struct.pack(
        ">IIIIIHHBB", number, width, height, *offset, 1, 1, 0, 0))

  parts = [PNG, png_header(default, 8, 6),
           chunk(b"acTL", struct.pack(">II", len(frames), 0))]
  number = 0
  if default_is_first:
    parts.append(control(number, default, (0, 0)))
    number += 1
  parts.append(chunk(b"IDAT", png_pixels(default, 8)))
  for frame, offset in zip(frames[default_is_first:],
                           offsets[default_is_first:], strict=True):
    parts.append(control(number, frame, offset))
    parts.append(chunk(b"fdAT", struct.pack(">I", number + 1)
                       + png_pixels(frame, 8)))
    number += 2
  return b"".join([*parts, chunk(b"IEND", b"")])


def tiff(samples, bits, photometric, *, planar=False, order="<",
         extra_samples=(), sample_format=1, palette=None, compressed=False,
         orientation=None):
  """Returns an uncompressed or deflated TIFF of one strip (a plane)."""
  height, width = samples.shape[:2]
  channels = 1 if samples.ndim == 2 else samples.shape[2]
  samples = samples.reshape(height, width, channels)
  planes = ([samples[..., i] for i in range(channels)] if planar
            else [samples])
  if sample_format == 3:
    strips = [plane.astype(order + f"f{bits // 8}").tobytes()
              for plane in planes]
  elif bits == 32:
    strips = [plane.astype(order + "u4").tobytes() for plane in planes]
  else:
    strips = [b"".join(pack(plane, bits, order)) for plane in planes]
  if compressed:
    strips = [zlib.compress(strip) for strip in strips]
  tags = {256: ("I", [width]), 257: ("I", [height]),
          258: ("H", [bits] * channels), 259: ("H", [8 if compressed else 1]),
          262: ("H", [photometric]), 273: ("I", [0] * len(strips)),
          277: ("H", [channels]), 278: ("I", [height]),
          279: ("I", [len(strip) for strip in strips]),
          284: ("H", [2 if planar else 1])}
  if orientation:
    tags[274] = ("H", [orientation])
  if extra_samples:
    tags[338] = ("H", list(extra_samples))
  if sample_format != 1:
    tags[339] = ("H", [sample_format] * channels)
  if palette is not None:
    tags[320] = ("H", np.asarray(palette).T.reshape(-1).tolist())
  base = 8 + 2 + 12 * len(tags) + 4
  blobs, at = b"", base
  def place(data):
    nonlocal blobs, at
    offset, blobs, at = at, blobs + data, at + len(data)
    if at % 2:
      blobs, at = blobs + b"\0", at + 1
    return offset
  tags[273] = ("I", [place(strip) for strip in strips])
  entries = b""
  for tag in sorted(tags):
    kind, values = tags[tag]
    data = struct.pack(order + kind * len(values), *values)
    field = (data.ljust(4, b"\0") if len(data) <= 4
             else struct.pack(order + "I", place(data)))
    entries += struct.pack(order + "HHI", tag, {"H": 3, "I": 4}[kind],
                           len(values)) + field
  start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(
      order + "I", 8)
  return (start + struct.pack(order + "H", len(tags)) + entries
          + b"\0\0\0\0" + blobs)


def pnm(samples, maxval, kind, *, text=False):
  """Returns a PBM, PGM or PPM file of kind 1 to 6."""
  height, width = samples.shape[:2]
  head = f"P{kind}\n# made\n{width} {height}\n{maxval}\n".encode()
  if text:
    return head + b" ".join(b"%d" % v for v in samples.reshape(-1)) + b"\n"
  return head + samples.astype(">u2" if maxval > 255 else "u1").tobytes()


def gif(indices, palette, screen, offset=(0, 0), *, transparent=None,
        background=0):
  """Returns a GIF of one frame on a larger screen (width, height).

  Uncompressed LZW: a clear code before every 126 pixels of 7 bits.
  """
  height, width = indices.shape
  bits = 7
  table = np.zeros((128, 3), np.uint8)
  table[:len(palette)] = palette
  codes = []
  for i, value in enumerate(indices.reshape(-1)):
    if i % 100 == 0:
      codes.append(128)
    codes.append(int(value))
  codes.append(129)
  value = sum(code << (8 * i) for i, code in enumerate(codes))
  data = value.to_bytes(len(codes), "little")
  blocks = b"".join(bytes([len(data[i:i + 255])]) + data[i:i + 255]
                    for i in range(0, len(data), 255)) + b"\0"
  control = b"" if transparent is None else (
      b"\x21\xf9\x04\x01\0\0" + bytes([transparent]) + b"\0")
  return (b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80 | (bits - 1),
                                  background, 0) + table.tobytes() + control
          + b"," + struct.pack("<HHHHB", *offset, width, height, 0)
          + bytes([bits]) + blocks + b";")


def bmp32(rgba, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000)):
  """Returns a BMP of 32 bits with bit masks (V4 header), bottom up."""
  height, width = rgba.shape[:2]
  value = np.zeros((height, width), np.uint32)
  for channel, mask in enumerate(masks):
    shift = (mask & -mask).bit_length() - 1 if mask else 0
    if mask:
      value |= rgba[..., channel].astype(np.uint32) << shift
  pixels = value[::-1].astype("<u4").tobytes()
  header = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3,
                       len(pixels), 2835, 2835, 0, 0)
  header += struct.pack("<IIII", *masks) + b"BGRs" + b"\0" * 48
  return (b"BM" + struct.pack("<IHHI", 14 + len(header) + len(pixels), 0, 0,
                              14 + len(header)) + header + pixels)


def jpeg_segments(data):
  """Returns (marker, start, end) of the segments before the pixels."""
  at, segments = 2, []
  while at + 4 <= len(data) and data[at] == 0xFF:
    length = int.from_bytes(data[at + 2:at + 4], "big")
    segments.append((data[at + 1], at, at + 2 + length))
    if data[at + 1] == 0xDA:
      break
    at += 2 + length
  return segments

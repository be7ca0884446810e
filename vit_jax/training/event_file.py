"""TensorBoard's event files, as far as scalars need them.

An event file is a TFRecord file (tensorflow/core/lib/io/record_writer.h) of
Event messages (tensorflow/core/util/event.proto) in protocol buffers' wire
format. Writing the few fields here needs neither a package that imports
TensorFlow or torch where it finds them, nor a thread.
"""

from collections.abc import Mapping
import struct

import numpy as np

# CRC-32C (Castagnoli, RFC 3720), reflected, of each byte.
_POLYNOMIAL = 0x82F63B78


def _crc_of_byte(crc: int) -> int:
  for _ in range(8):
    crc = crc >> 1 ^ _POLYNOMIAL * (crc & 1)
  return crc


_CRC_TABLE = [_crc_of_byte(byte) for byte in range(256)]


def crc32c(data: bytes) -> int:
  """Returns the CRC-32C of `data`."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
  return crc ^ 0xFFFFFFFF


def _masked_crc(data: bytes) -> bytes:
  """Returns a checksum as TFRecord stores it: rotated, plus a constant."""
  crc = crc32c(data)
  rotated = crc >> 15 | crc << 17
  return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)


def _record(message: bytes) -> bytes:
  """Returns a message as a record of a TFRecord file."""
  length = struct.pack("<Q", len(message))
  return length + _masked_crc(length) + message + _masked_crc(message)


# Fields of a message, by number and value.


def _varint(number: int, value: int) -> bytes:
  return bytes([number << 3]) + _base_128(value)


def _base_128(value: int) -> bytes:
  """Returns a number, 0 or greater, seven bits a byte, the lowest first."""
  groups = []
  while value > 0x7F:
    groups.append(value & 0x7F | 0x80)
    value >>= 7
  return bytes([*groups, value])


def _double(number: int, value: float) -> bytes:
  return bytes([number << 3 | 1]) + struct.pack("<d", value)


def _bytes(number: int, value: bytes) -> bytes:
  return bytes([number << 3 | 2]) + _base_128(len(value)) + value


def _float(number: int, value: float) -> bytes:
  with np.errstate(over="ignore"):  # Too large for float32: infinite.
    return bytes([number << 3 | 5]) + np.float32(value).tobytes()


def file_header(wall_time: float, first_step: int) -> bytes:
  """Returns what an event file begins with.

  Args:
    wall_time: in seconds since 1970.
    first_step: TensorBoard drops what earlier files hold from this step on.
  """
  time = _double(1, wall_time)
  start = _varint(1, 1)  # SessionLog.status = START
  return _record(time + _bytes(3, b"brain.Event:2")) + _record(
      time + _varint(2, first_step) + _bytes(7, start))


def scalars_event(
    wall_time: float, step: int, scalars: Mapping[str, float]
) -> bytes:
  """Returns the record of one step's scalars, which become float32.

  Args:
    wall_time: in seconds since 1970.
    step: updates completed.
    scalars: by tag, such as "train/loss".
  """
  summary = b"".join(
      _bytes(1, _bytes(1, tag.encode()) + _float(2, value))
      for tag, value in scalars.items())
  return _record(
      _double(1, wall_time) + _varint(2, step) + _bytes(5, summary))

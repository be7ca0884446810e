"""IDX files, the format of MNIST and its relatives, whole or gzipped.

Two zero bytes, the type of a number, the number of dimensions, their sizes (4
bytes each, the first byte the highest), then the numbers (yann.lecun.com/exdb/
mnist). Only bytes without a sign are read: pictures and labels have no others.
"""

import gzip
import math
import struct
from typing import Any
import zlib

from jaxtyping import UInt8
import numpy as np

from vit_jax.data.sources import storage
from vit_jax.errors import DataError

_TYPES = {0x08: "unsigned bytes", 0x09: "signed bytes", 0x0B: "shorts",
          0x0C: "integers", 0x0D: "floats", 0x0E: "doubles"}
_LARGEST = 1 << 30  # bytes of an array; EMNIST's largest has 547 million


def read_idx(path: str, dimensions: int) -> UInt8[np.ndarray, "..."]:
  """Returns the array of a file.

  Args:
    path: or URL; a gzipped file is recognised by its bytes.
    dimensions: that it must have, 3 for pictures (n h w), 1 for labels.

  Raises:
    DataError: it is damaged, truncated or no such file.
  """
  name = storage.printable(path)
  size = storage.stamp(path).size
  with storage.open_file(path) as raw:
    zipped = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    try:
      with gzip.GzipFile(fileobj=raw) if zipped else raw as file:
        shape = _shape(file.read(4 + 4 * dimensions), dimensions, name)
        expected = math.prod(shape)
        if expected > (1100 * size if zipped else size):  # deflate's limit
          raise DataError(f"{name}: {expected:,} numbers are announced, more "
                          "than it can hold; it is truncated or damaged")
        data = file.read(expected + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
      raise DataError(f"{name}: damaged or truncated ({error}); get it "
                      "again") from None
    except OSError as error:
      raise DataError(f"{name}: cannot be read: {error.strerror}") from error
  if len(data) < expected:
    raise DataError(
        f"{name}: has {len(data):,} of {expected:,} numbers; it is truncated")
  if len(data) > expected:
    raise DataError(f"{name}: goes on after its {expected:,} numbers; it is "
                    "damaged")
  return np.frombuffer(data, np.uint8).reshape(shape)


def _shape(head: Any, dimensions: int, name: str) -> tuple[int, ...]:
  """Returns the sizes that a file begins with."""
  if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES:
    raise DataError(f"{name}: not an IDX file, which begins with two zero "
                    "bytes and a type")
  if head[2] != 0x08:
    raise DataError(f"{name}: holds {_TYPES[head[2]]}; pictures and labels of "
                    "unsigned bytes were expected")
  if head[3] != dimensions:
    raise DataError(f"{name}: has {head[3]} dimensions; {dimensions} were "
                    "expected, of " + ("labels" if dimensions == 1 else
                                       "pictures (number, height, width)"))
  if len(head) < 4 + 4 * dimensions:
    raise DataError(f"{name}: it is truncated")
  shape = struct.unpack(f">{dimensions}I", head[4:])
  if not all(shape) or math.prod(shape) > _LARGEST:
    raise DataError(f"{name}: {'x'.join(map(str, shape))} numbers are "
                    "announced; it is empty or damaged")
  return shape

"""Damage to files and texts: random, and at the places that matter.

Every function takes a generator of numpy and returns new bytes. Files are
damaged as disks, networks and people do it; texts are put together from the
words of their own grammar.
"""

import struct

INTEGERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000,
            0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
WORDS = (
    b"", b"-", b"-1", b"0", b"1e999", b"1" * 400, b"1" * 5000, b"nan", b"null",
    b"true", b"[]", b"{}", b"[" * 3000, b"{" * 300, b'"', b"'", b"\\", b"\0",
    b"\xff\xfe", b"\n", b"\r", b"\t", b",", b",,", b"|", b"(", b")", b"()",
    b"{size}", b"../../x", b"/etc/passwd", b"C:\\x", b"a" * 300, b"%s", b"$(x)",
    "\u202e\u0000é".encode(), b"<!--<script>", b"99999999999", b"-0", b"0x10",
    b"1_000", b" ", b"=", b":", b";", b"None", b"False", b"inf")


def bit(rng, data):
  """Flips one bit."""
  data = bytearray(data)
  at = int(rng.integers(len(data)))
  data[at] ^= 1 << int(rng.integers(8))
  return bytes(data)


def edge_bit(rng, data):
  """Flips one bit near the beginning or the end, where structure is."""
  data = bytearray(data)
  near = int(min(len(data) - 1, abs(rng.normal(0, 150))))
  at = near if rng.random() < 0.5 else len(data) - 1 - near
  data[at] ^= 1 << int(rng.integers(8))
  return bytes(data)


def byte(rng, data):
  """Replaces a few bytes."""
  data = bytearray(data)
  for _ in range(int(rng.integers(1, 9))):
    data[int(rng.integers(len(data)))] = int(rng.integers(256))
  return bytes(data)


def cut(rng, data):
  """Keeps the beginning."""
  return data[:int(rng.integers(len(data)))]


def hole(rng, data):
  """Removes a part, or fills it with zeros as a crash of the machine does."""
  begin, end = _part(rng, data)
  zeros = bytes(end - begin) if rng.random() < 0.5 else b""
  return data[:begin] + zeros + data[end:]


def again(rng, data):
  """Repeats a part in another place."""
  begin, end = _part(rng, data)
  at = int(rng.integers(len(data)))
  return data[:at] + data[begin:end] + data[at:]


def integer(rng, data):
  """Sets 2, 4 or 8 bytes to a number at which programs fail."""
  form = ("<H", "<I", "<Q", ">H", ">I")[int(rng.integers(5))]
  size = struct.calcsize(form)
  if len(data) <= size:
    return data
  value = INTEGERS[int(rng.integers(len(INTEGERS)))] % (1 << 8 * size)
  near = int(abs(rng.normal(0, 100)))
  at = near if rng.random() < 0.5 else len(data) - size - near
  at = min(max(at, 0), len(data) - size)
  return data[:at] + struct.pack(form, value) + data[at + size:]


def word(rng, data):
  """Puts a word in, or in the place of a few bytes."""
  at = int(rng.integers(len(data) + 1))
  gone = int(rng.integers(9)) if rng.random() < 0.5 else 0
  return data[:at] + WORDS[int(rng.integers(len(WORDS)))] + data[at + gone:]


def words(rng, data):
  """Puts in several words."""
  for _ in range(int(rng.integers(1, 4))):
    data = word(rng, data)
  return data


def _part(rng, data):
  begin = int(rng.integers(len(data)))
  return begin, min(len(data), begin + 1 + int(rng.exponential(60)))


BINARY = (bit, edge_bit, edge_bit, byte, cut, hole, again, integer, integer)
TEXT = (bit, byte, cut, hole, again, word, word, words)


def damaged(rng, data, kinds):
  """Returns `data` with one kind of damage, sometimes with two."""
  for _ in range(1 if rng.random() < 0.8 else 2):
    data = kinds[int(rng.integers(len(kinds)))](rng, data or b"x")
  return data

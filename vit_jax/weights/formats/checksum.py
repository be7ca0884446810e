"""The checksums that identify a weights file, and the arrays in it."""

from collections.abc import Mapping
import hashlib
import os


def sha256(path: str | os.PathLike) -> str:
  """Returns the SHA-256 of a file as 64 hexadecimal digits."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def digest(crcs: Mapping[str, int]) -> str:
  """Returns what identifies the arrays of a file: 64 hexadecimal digits.

  Args:
    crcs: the CRC-32 of each array, as its container keeps it, by name.
  """
  lines = [f"{crcs[name]:08x} {name}\n" for name in sorted(crcs)]
  return hashlib.sha256("".join(lines).encode()).hexdigest()

"""The checksum that identifies a weights file."""

import hashlib
import os


def sha256(path: str | os.PathLike) -> str:
  """Returns the SHA-256 of a file as 64 hexadecimal digits."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()

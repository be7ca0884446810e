"""Checks of what a server sends: its beginning, its size, the whole."""

import base64
import hashlib
import pathlib
from typing import NamedTuple

from vit_jax.errors import CheckpointError
from vit_jax.weights.formats.detect import detect_format, explain, format_of
from vit_jax.weights.formats.npz import npz_digest
from vit_jax.weights.formats.safetensors import safetensors_digest

HEAD = 512  # bytes that show what a file is


class ExpectedSize(NamedTuple):
  """The size that a file should have, in bytes; published ones are rounded."""

  size: int
  tolerance: int


def check_weights(path: pathlib.Path, url: str) -> None:
  """Raises CheckpointError if the file is no whole .npz or .safetensors.

  What the containers say of themselves is checked, not yet every array.
  """
  try:
    if detect_format(path) == "npz":
      npz_digest(path)
    else:
      safetensors_digest(path)
    return
  except CheckpointError as error:
    content = str(error).removeprefix(f"{path}: ")
  raise CheckpointError(f"{url}: what arrived is {content}. It was deleted")


def check_beginning(head: bytes, url: str) -> None:
  """Raises CheckpointError for the first bytes of anything but weights."""
  if format_of(head) is None:
    what, advice = explain(head)
    raise CheckpointError(f"{url}: the server sends {what}; {advice}")


def md5(part: pathlib.Path) -> str:
  """Returns a file's MD5 as base64."""
  with part.open("rb") as file:
    found = hashlib.file_digest(
        file, lambda: hashlib.md5(usedforsecurity=False))
  return base64.b64encode(found.digest()).decode()


def check_size(url: str, size: int, expected: ExpectedSize | None) -> None:
  """Raises CheckpointError for another size than that of the file wanted."""
  if expected and abs(size - expected.size) > expected.tolerance:
    raise CheckpointError(
        f"{url}: {size:,} bytes, but the file of that name has about "
        f"{expected.size:,}; this is another file, or the server's error page")

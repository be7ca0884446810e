"""Detects what a file is by its first bytes, to refuse wrong ones by name."""

import os
import pathlib

from vit_jax.errors import CheckpointError

# The first bytes of files that are not weights, what they are, what to do.
_SIGNATURES = (
    (b"\x93NUMPY", "one array in a .npy file",
     "save the parameters with numpy.savez under their names"),
    (b"\x1f\x8b", "compressed with gzip", "decompress it first"),
    (b"\x89HDF", "an HDF5 file (Keras)", "convert it to .npz first"),
    (b"version https://git-lfs", "a Git LFS pointer, not the weights",
     "fetch the file with git lfs pull"),
)
_MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<error", b"<head", b"<!--")


def detect_format(path: str | os.PathLike) -> str:
  """Returns "npz" or "safetensors", by the file's first bytes.

  Raises:
    CheckpointError: anything else; one line that says what the file is and
      what to do.
  """
  path = pathlib.Path(path)
  if os.path.isdir(path):  # Path.is_dir() raises for impossible names.
    raise CheckpointError(f"{path}: {_directory(path)}")
  try:
    with open(path, "rb") as file:
      head = file.read(512)
      size = os.fstat(file.fileno()).st_size
  except FileNotFoundError:
    raise CheckpointError(
        f"{path}: no such file; give the path of a .npz or .safetensors file"
    ) from None
  except (OSError, ValueError) as error:  # ValueError: a NUL in the name.
    why = getattr(error, "strerror", None) or error
    raise CheckpointError(f"{path}: cannot be read ({why})") from None
  found = format_of(head)
  if found:
    return found
  what, advice = explain(head)
  raise CheckpointError(
      f"{path}: {what} ({size:,} bytes), not weights in .npz or "
      f".safetensors; {advice}")


def format_of(head: bytes) -> str | None:
  """Returns "npz" or "safetensors" by a file's first bytes; None if neither."""
  if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
    return "npz"
  if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 30:
    return "safetensors"
  return None


def _directory(path: pathlib.Path) -> str:
  """Returns what a directory holds and what to give instead."""
  names = [*sorted(path.glob("*.safetensors.index.json")),
           *sorted(path.glob("*.npz")), *sorted(path.glob("*.safetensors"))]
  if names:
    return f"a directory; name the file in it, such as {names[0]}"
  return ("a directory without weights files; a finished run holds model.npz, "
          "and a file of Orbax or TensorFlow has to be converted first")


def explain(head: bytes) -> tuple[str, str]:
  """Returns what the bytes are and what to do about it."""
  if not head:
    return "an empty file", "get it again"
  for magic, what, advice in _SIGNATURES:
    if head.startswith(magic):
      return what, advice
  text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
  if text.startswith(_MARKUP):
    return ("an HTML or XML page", "a server answered with a page instead of "
            "the file: check the address and download it again")
  if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
    return ("a Python pickle", "pickles can run code and are never opened: "
            "save the parameters as .npz or .safetensors")
  if _is_msgpack(head):
    return ("a msgpack file (flax.training.checkpoints)",
            "restore it with flax and save its parameters as .npz")
  if all(byte >= 32 or byte in b"\t\r\n" for byte in head):
    return "a text file", "give the weights file itself"
  return "an unknown format", "give a .npz or .safetensors file"


def _is_msgpack(head: bytes) -> bool:
  """Whether the bytes begin a msgpack map with a string key."""
  key = {0xDE: 3, 0xDF: 5}.get(head[0], 1 if head[0] >> 4 == 8 else None)
  if key is None or len(head) <= key:
    return False
  return head[key] >> 5 == 0b101 or head[key] in (0xD9, 0xDA, 0xDB)

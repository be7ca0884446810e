"""What this package says of a weights file, inside of it and beside it."""

from collections.abc import Mapping
import json
import os
from typing import Any
import zlib

from vit_jax.errors import CheckpointError
from vit_jax.weights import model_json

# The key of our description inside the file itself: in the metadata of a
# .safetensors file, in the comment of an .npz file.
EMBEDDED = "vit_jax"
_CRC = "crc32 of the description"


def embed(description: Mapping[str, Any]) -> str:
  """Returns the comment of an .npz file that has a description."""
  return json.dumps({EMBEDDED: description, _CRC: _crc_of(description)})


def _crc_of(description: Mapping[str, Any]) -> str:
  """Returns the checksum of a description."""
  text = json.dumps(description, sort_keys=True)
  return f"{zlib.crc32(text.encode()):08x}"


def embedded(note: str, path: str | os.PathLike) -> dict[str, str]:
  """Returns the description in the comment of an .npz file, if it is ours.

  Raises:
    CheckpointError: it is not what was written.
  """
  if EMBEDDED not in note and _CRC not in note:
    return {}
  try:
    content = json.loads(note)
    description = content[EMBEDDED]
    # Earlier versions wrote no checksum, and nothing else either.
    if set(content) == {EMBEDDED} or (
        content[_CRC] == _crc_of(description)):
      return {EMBEDDED: json.dumps(description)}
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
    pass
  raise CheckpointError(
      f"{os.fspath(path)}: damaged: the description inside is not what was "
      "written; get or write the file again")


def own(
    path: str | os.PathLike, metadata: Mapping[str, str]
) -> tuple[dict[str, Any], str]:
  """Returns our description of a file, and where it was read from.

  Args:
    path: the weights file; the description beside it overlays that inside.
    metadata: of the container.
  """
  stated: dict[str, Any] = {}
  places = []
  if EMBEDDED in metadata:
    places.append(f"{os.fspath(path)} ({EMBEDDED})")
    stated = model_json.parse_model_json(metadata[EMBEDDED], places[0])
  beside = model_json.read_model_json(path)
  if beside:
    places.append(os.fspath(model_json.model_json_path(path)))
  return overlay(stated, beside), " and ".join(reversed(places))


def overlay(
    below: Mapping[str, Any], above: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns a description whose keys are replaced by those of another.

  That of "architecture" is replaced key by key, too, and None states nothing.
  """
  stated = {key: value for key, value in above.items() if value is not None}
  both = {**above, **below, **stated}
  if below.get("architecture") and stated.get("architecture"):
    both["architecture"] = below["architecture"] | stated["architecture"]
  return both

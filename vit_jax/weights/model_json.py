"""The description beside the weights: model.json for model.npz.

Its keys are "variant", "architecture" (keyword arguments of the network),
"image_size" [height, width], "preprocess" (evaluation pipeline), "value_range",
"class_names", "loss" (of the head's training), "scores", "init", "step",
"posemb_resize" (how its family resizes position embeddings), "averaged" (that
the weights are the average over the updates) and "digest" (of the arrays, see
`formats.checksum.digest`; it tells whether the two files belong together). All
are optional. Beside a file of another library they replace what its own
config.json says, key by key.
"""

from collections.abc import Mapping
import json
import os
import pathlib
from typing import Any

from vit_jax.errors import CheckpointError
from vit_jax.weights.formats.atomic import atomic_write
from vit_jax.weights.formats.json_object import parse_object

# What the arrays do not show, and so nothing else would notice.
_NUMBERS = {"ln_eps": (0.0, 0.1), "num_heads": (1, 1024)}
_TEXTS = ("gelu", "stem_eps", "posemb", "posemb_at", "pooling", "block")


def model_json_path(path: str | os.PathLike) -> pathlib.Path:
  """Returns where the description of a weights file lies."""
  path = pathlib.Path(path)
  # The index of several files is a .json, too.
  while path.suffix in (".json", ".index"):
    path = path.with_suffix("")
  return path.with_suffix(".json")


def read_model_json(path: str | os.PathLike) -> dict[str, Any]:
  """Returns the description of a weights file, {} where there is none.

  Raises:
    CheckpointError: the description is not a JSON object, or a value has the
      wrong type.
  """
  beside = model_json_path(path)
  try:
    text = beside.read_text("utf-8")
  except FileNotFoundError:
    return {}
  except (OSError, UnicodeDecodeError) as error:
    raise CheckpointError(f"{beside}: cannot be read ({error})") from None
  return parse_model_json(text, str(beside))


def parse_model_json(text: str, source: str) -> dict[str, Any]:
  """Returns a description that was read from `source`, checked."""
  try:
    description = parse_object(text)
  except ValueError as error:
    raise CheckpointError(
        f"{source}: {error}; correct it or move it away, the weights can be "
        "read without it") from None
  size = description.get("image_size")
  if size is not None and not (
      isinstance(size, list) and len(size) == 2
      and all(isinstance(side, int) and side > 0 for side in size)):
    raise CheckpointError(
        f"{source}: image_size is {size!r}; [height, width] was expected")
  for key, kind in (("architecture", dict), ("preprocess", str),
                    ("class_names", list), ("digest", str),
                    ("posemb_resize", str)):
    if not isinstance(description.get(key), kind | None):
      raise CheckpointError(
          f"{source}: {key} is {_short(description[key])}; a JSON "
          f"{'object' if kind is dict else kind.__name__} was expected")
  for name in description.get("class_names") or ():
    if not isinstance(name, str):
      raise CheckpointError(f"{source}: {_short(name)} is among the "
                            "class_names; texts were expected")
  _check_architecture(description.get("architecture") or {}, source)
  return description


def _check_architecture(stated: Mapping[str, Any], source: str) -> None:
  """Raises CheckpointError for a value that no network can have."""
  for key, value in stated.items():
    if key in _NUMBERS:
      low, high = _NUMBERS[key]
      right = (isinstance(value, int | float) and not isinstance(value, bool)
               and low <= value <= high)
      wanted = f"a number from {low:g} to {high:g}"
    elif key in _TEXTS:
      right, wanted = isinstance(value, str), "a text"
    else:
      continue
    if not right:
      raise CheckpointError(
          f"{source}: architecture.{key} is {_short(value)}; {wanted} was "
          "expected")


def _short(value: Any) -> str:
  """Returns a value for a message."""
  return repr(value)[:80]


def write_model_json(
    path: str | os.PathLike, description: Mapping[str, Any]
) -> None:
  """Writes the description of a weights file, atomically.

  Args:
    path: the weights file (model.npz); model.json is written beside it.
    description: the keys above; tuples become lists.
  """
  with atomic_write(model_json_path(path)) as file:
    file.write(json.dumps(description, indent=2).encode() + b"\n")

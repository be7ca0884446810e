"""The description beside the weights: model.json for model.npz.

Its keys are "variant", "architecture" (keyword arguments of the network),
"image_size" [height, width], "preprocess" (evaluation pipeline), "value_range",
"class_names", "loss" (of the head's training), "scores", "init", "step" and
"averaged" (whether the weights are the average over the updates). All are
optional.
"""

from collections.abc import Mapping
import json
import os
import pathlib
from typing import Any

from vit_jax.errors import CheckpointError
from vit_jax.weights.formats.atomic import atomic_write


def model_json_path(path: str | os.PathLike) -> pathlib.Path:
  """Returns where the description of a weights file lies."""
  return pathlib.Path(path).with_suffix(".json")


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
    description = json.loads(text)
  except json.JSONDecodeError as error:
    raise CheckpointError(
        f"{source}: not JSON ({error}); correct it or move it away, the "
        "weights can be read without it") from None
  if not isinstance(description, dict):
    raise CheckpointError(f"{source}: a JSON object was expected, found "
                          f"{type(description).__name__}; correct it or move "
                          "it away")
  size = description.get("image_size")
  if size is not None and not (
      isinstance(size, list) and len(size) == 2
      and all(isinstance(side, int) and side > 0 for side in size)):
    raise CheckpointError(
        f"{source}: image_size is {size!r}; [height, width] was expected")
  for key, kind in (("architecture", dict), ("preprocess", str),
                    ("class_names", list)):
    if not isinstance(description.get(key), kind | None):
      raise CheckpointError(
          f"{source}: {key} is {description[key]!r}; a JSON "
          f"{'object' if kind is dict else kind.__name__} was expected")
  return description


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

"""The description beside the weights: model.json for model.npz.

Its keys: "variant", "architecture" (keyword arguments of VisionTransformer),
"image_size" [height, width], "preprocess" (evaluation pipeline), "value_range",
"class_names", "scores", "init" and "step". Every key may be left out.
"""

from collections.abc import Mapping
import json
import os
import pathlib
from typing import Any

from vit_jax.errors import CheckpointError
from vit_jax.weights.formats.raw import atomic_write


def path_of(path: str | os.PathLike) -> pathlib.Path:
  """Returns where the description of a weights file lies."""
  return pathlib.Path(path).with_suffix(".json")


def read(path: str | os.PathLike) -> dict[str, Any]:
  """Returns the description of a weights file, {} where there is none.

  Raises:
    CheckpointError: the description is no JSON object, or a value is not of
      the kind that it must be.
  """
  beside = path_of(path)
  try:
    text = beside.read_text()
  except FileNotFoundError:
    return {}
  except (OSError, UnicodeDecodeError) as error:
    raise CheckpointError(f"{beside}: cannot be read ({error})") from None
  return parse(text, str(beside))


def parse(text: str, source: str) -> dict[str, Any]:
  """Returns a description that was read from `source`, checked."""
  try:
    said = json.loads(text)
  except json.JSONDecodeError as error:
    raise CheckpointError(
        f"{source}: not JSON ({error}); mend it or move it away, the weights "
        "can be read without it") from None
  if not isinstance(said, dict):
    raise CheckpointError(f"{source}: a JSON object was expected, found "
                          f"{type(said).__name__}; mend it or move it away")
  size = said.get("image_size")
  if size is not None and not (
      isinstance(size, list) and len(size) == 2
      and all(isinstance(side, int) and side > 0 for side in size)):
    raise CheckpointError(
        f"{source}: image_size is {size!r}; [height, width] was expected")
  for key, kind in (("architecture", dict), ("preprocess", str),
                    ("class_names", list)):
    if not isinstance(said.get(key, None), kind | None):
      raise CheckpointError(
          f"{source}: {key} is {said[key]!r}; a JSON "
          f"{'object' if kind is dict else kind.__name__} was expected")
  return said


def write(path: str | os.PathLike, said: Mapping[str, Any]) -> None:
  """Writes the description of a weights file, atomically.

  Args:
    path: the weights file (model.npz); model.json is written beside it.
    said: the keys above; tuples become lists.
  """
  with atomic_write(path_of(path)) as file:
    file.write(json.dumps(said, indent=2).encode() + b"\n")

"""The files of a run that a report reads: as expected, or one line."""

import io
from typing import Any

from etils import epath
import numpy as np

from vit_jax.errors import DataError, one_line
from vit_jax.weights.formats.json_object import parse_object

# The kinds of the values that are used, by key; others may be anything.
CONFIG = {
    "config": dict, "config.data": dict, "config.data.batch_size": int,
    "config.init": dict, "config.optim": dict, "config.model": dict,
    "config.model.variant": str, "config.data.image_size": int | list,
    "environment": dict, "environment.devices": int, "steps": int}
MODEL = {
    "variant": str, "architecture": dict, "class_names": list,
    "architecture.width": int, "architecture.depth": int,
    "architecture.num_heads": int}
# Of eval/NAME.json; all of these are there.
_DETAILS = {
    "data": str, "examples": int, "accuracy_by_class": list,
    "confusions": list, "confusions_left_out": int, "mistakes": list,
    "mistakes_left_out": int}


def read_json(path: epath.Path, kinds: dict[str, Any]) -> dict[str, Any]:
  """Returns the object in a file, {} where there is none.

  Raises:
    DataError: it is damaged, or a value is of another kind.
  """
  if not path.exists():
    return {}
  try:
    content = parse_object(path.read_bytes())
    flat = content | {}
    for key, kind in kinds.items():
      outer, _, inner = key.rpartition(".")
      values = flat.get(outer) if outer else content
      value = flat[key] = (values or {}).get(inner)
      if not isinstance(value, kind | None) or isinstance(value, bool):
        raise ValueError(f"{key} is {repr(value)[:60]}")
    size = flat.get("config.data.image_size")
    if isinstance(size, list) and len(size) != 2:
      raise ValueError(f"config.data.image_size is {repr(size)[:60]}")
  except (OSError, ValueError) as error:
    raise DataError(f"{path}: {one_line(error)}; bring back the right file, or "
                    "remove it to see the rest of the run") from None
  return {key: value for key, value in content.items() if value is not None}


def read_details(path: epath.Path) -> dict[str, Any]:
  """Returns what an evaluation wrote beside its scores.

  Raises:
    DataError: it is damaged.
  """
  details = read_json(path, _DETAILS)
  if missing := _DETAILS.keys() - details.keys():
    raise DataError(
        f"{path}: {sorted(missing)[0]} is missing; remove the file to see the "
        "rest of the run")
  return {"confusion_matrix": None} | details


def read_samples(
    path: epath.Path, class_names: list[Any] | None
) -> dict[str, np.ndarray] | None:
  """Returns the arrays of samples.npz, None where there is none.

  Raises:
    DataError: it is damaged, or does not fit the names of the classes.
  """
  if not path.exists():
    return None
  try:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
      samples = {key: file[key] for key in (
          "images", "labels", "probabilities", *{*file} & {
              "names", "mistakes"})}
    images, labels, odds = (
        samples[key] for key in ("images", "labels", "probabilities"))
    classes = odds.shape[-1] if odds.ndim == 2 else 0
    if not (images.dtype == np.uint8 and images.ndim == 4
            and images.shape[3] == 3 and images.size
            and labels.shape == images.shape[:1]
            and odds.shape == (len(labels), classes)
            and labels.dtype.kind == "i" and odds.dtype.kind == "f"
            and 0 <= labels.min() and labels.max() < classes
            and len(class_names or odds[0]) == classes
            and all(samples[key].shape == labels.shape
                    for key in samples.keys() & {"names", "mistakes"})):
      raise ValueError("arrays that do not fit each other")
  # zipfile, zlib and numpy fail in their own ways.
  except Exception as error:
    raise DataError(
        f"{path}: damaged ({one_line(error)}); delete it, or run the "
        "training's last evaluation again") from None
  return samples

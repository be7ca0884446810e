"""Image files with their labels as a source."""

from collections.abc import Sequence
import functools
import hashlib
import json
import os

from jaxtyping import Int
import numpy as np

from vit_jax.data.sources.source import Example, Source
from vit_jax.errors import DataError


def files_source(
    root: str, files: Sequence[tuple[str, int]], *, name: str,
    class_names: tuple[str, ...] | None, num_classes: int) -> Source:
  """Returns image files with their labels as a source.

  Args:
    root: a folder.
    files: (path below root, label) of each.
    name, class_names, num_classes: see Source.
  """
  listing = hashlib.sha256(json.dumps(files).encode()).hexdigest()
  return Source(
      name=name, class_names=class_names, num_classes=num_classes,
      read=functools.partial(
          _read, root, [path for path, _ in files],
          np.array([label for _, label in files], np.int32)),
      indices=np.arange(len(files)), origin=f"folder {listing}")


def _read(
    root: str, paths: list[str], labels: Int[np.ndarray, " n"], index: int,
) -> Example:
  path = os.path.join(root, paths[index])
  try:
    with open(path, "rb") as file:
      data = file.read()
  except OSError as error:
    raise DataError(f"{path}: cannot be read: {error.strerror}") from error
  return {"image": data, "label": int(labels[index]), "id": path,
          "file": os.path.basename(path)}

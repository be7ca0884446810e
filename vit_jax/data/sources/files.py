"""Image files with their labels as a source."""

from collections.abc import Sequence
import functools
import hashlib
import json
import posixpath

from jaxtyping import Int
import numpy as np

from vit_jax.data.sources import storage
from vit_jax.data.sources.source import Example, Source


def files_source(
    root: str, files: Sequence[tuple[str, int]], *, name: str,
    class_names: tuple[str, ...] | None, num_classes: int) -> Source:
  """Returns image files with their labels as a source.

  Args:
    root: a folder, local or a URL.
    files: (path below root, label) of each.
    name, class_names, num_classes: see Source.
  """
  listing = hashlib.sha256(json.dumps(files).encode()).hexdigest()
  labels = np.array([label for _, label in files], np.int32)
  return Source(
      name=name, class_names=class_names, num_classes=num_classes,
      read=functools.partial(_read, root, [path for path, _ in files], labels),
      indices=np.arange(len(files)), origin=f"folder {listing}",
      labels=labels)


def _read(
    root: str, paths: list[str], labels: Int[np.ndarray, " n"], index: int,
) -> Example:
  path = f"{root}/{paths[index]}"
  return {"image": storage.read(path), "label": int(labels[index]),
          "id": storage.printable(path),
          "file": storage.printable(posixpath.basename(path))}

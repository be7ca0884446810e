"""Image files and folders named on the command line."""

from collections.abc import Iterator, Sequence
import os

from vit_jax.data.sources.folder import SUFFIXES
from vit_jax.errors import DataError


def find_images(paths: Sequence[str]) -> list[str]:
  """Returns the files named, and the images below the folders named.

  Raises:
    DataError: a folder without images.
  """
  files: list[str] = []
  for path in paths:
    if not os.path.isdir(path):
      files.append(path)
      continue
    images = list(_images_below(path))
    if not images:
      raise DataError(f"{path}: no image in this folder; expected files "
                      f"ending in {' '.join(SUFFIXES)}")
    files += images
  return files


def _images_below(path: str) -> Iterator[str]:
  """Yields the images of a folder and of all below it, in order."""
  for folder, subfolders, names in os.walk(path):
    subfolders.sort()  # In place: os.walk descends in this order.
    for name in sorted(names):
      if name.lower().endswith(SUFFIXES) and not name.startswith("."):
        yield os.path.join(folder, name)

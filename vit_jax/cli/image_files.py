"""Image files and folders named on the command line."""

from collections.abc import Sequence
import os

from vit_jax.data.sources.tree import list_images


def find_images(paths: Sequence[str]) -> list[str]:
  """Returns the files named, and the images below the folders named.

  What counts as an image is decided as in training; see
  `vit_jax.data.sources.tree`.

  Raises:
    DataError: a folder without images.
  """
  files: list[str] = []
  for path in paths:
    files += list_images(path) if os.path.isdir(path) else [path]
  return files

"""Paths of working directories: local, or in a bucket."""

import os


def absolute(path: str) -> str:
  """Returns a path that Orbax takes: absolute, or with its scheme (gs://)."""
  return path if "://" in path else os.path.abspath(os.path.expanduser(path))

"""Paths that users give for folders: local, or in a bucket."""

import importlib.util
import os
import pathlib
import re
import urllib.parse

from vit_jax.errors import UsageError, UserError

# What is installed for the buckets that working directories lie in.
_PACKAGES = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs"}


def in_bucket(path: str) -> bool:
  """Tells whether a path lies in a bucket; other servers have no folders."""
  return path.partition("://")[0] in _PACKAGES and "://" in path


def absolute(path: str) -> str:
  """Returns a path that Orbax takes: absolute, or with its scheme (gs://).

  Raises:
    UsageError: a URL that names no bucket.
    UserError: the package that reads this kind of bucket is not installed.
  """
  scheme, separator, _ = path.partition("://")
  if not separator:
    return os.path.abspath(os.path.expanduser(path))
  if scheme == "file":
    return os.path.abspath(local_path(path))
  if scheme not in _PACKAGES:
    raise UsageError(
        f"{path}: a local folder was expected, or one in a bucket "
        f"({', '.join(f'{name}://' for name in _PACKAGES)})")
  package = _PACKAGES[scheme]
  if importlib.util.find_spec(package) is None:
    raise UserError(
        f"{path}: {scheme}:// needs a package that is not installed; run pip "
        f"install {package}")
  return path


def to_write(path: str | os.PathLike) -> pathlib.Path:
  """Returns the path of a file or folder to write, which must be local.

  Raises:
    UsageError: it is in a bucket or on a server. The system would make a folder
      named "gs:".
  """
  text = local_path(os.fspath(path))
  # pathlib makes gs:/bucket of gs://bucket.
  if re.match("[a-z][a-z0-9]+:/", text):
    raise UsageError(
        f"{path}: only local files can be written here; write one, and copy it "
        "there")
  return pathlib.Path(text)


def local_path(path: str) -> str:
  """Returns the path of a file:// URL; others unchanged."""
  if not path.startswith("file://"):
    return path
  parts = urllib.parse.urlsplit(path)
  return urllib.parse.unquote(parts.path) or "/"

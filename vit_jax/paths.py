"""Paths that users give for folders: local, or in a bucket."""

import importlib.util
import os
import urllib.parse

from vit_jax.errors import UsageError, UserError

# What is installed for the buckets that working directories lie in.
_PACKAGES = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs"}


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


def local_path(path: str) -> str:
  """Returns the path of a file:// URL; others unchanged."""
  if not path.startswith("file://"):
    return path
  parts = urllib.parse.urlsplit(path)
  return urllib.parse.unquote(parts.path) or "/"

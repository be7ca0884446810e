"""Downloads a file and keeps its SHA-256 beside it."""

import contextlib
import pathlib
from typing import Any

from vit_jax.errors import CheckpointError
from vit_jax.weights.formats.atomic import write_whole
from vit_jax.weights.formats.checksum import sha256
from vit_jax.weights.hub.arrived import check_weights
from vit_jax.weights.hub.download import download


def recorded(
    url: str, path: pathlib.Path, **settings: Any
) -> pathlib.Path:
  """Returns `path`, downloaded, and keeps its SHA-256 beside it.

  A file that is fetched again has to be the same one.

  Raises:
    CheckpointError: it is another one. Also what `download` raises.
  """
  beside = path.with_name(path.name + ".sha256")
  weights = settings.get("check") is check_weights  # index.csv may grow.
  if path.is_file():
    if weights and not beside.is_file():
      # Whoever downloaded it was killed before this, or put it here by hand.
      with contextlib.suppress(OSError):  # A cache may be read-only.
        _record(beside, path, sha256(path))
    return path
  before = beside.read_text().split()[:1] if beside.is_file() else []
  download(url, path, **settings)
  if not weights:
    return path
  found = sha256(path)
  if before and before != [found]:
    path.unlink(missing_ok=True)
    raise CheckpointError(
        f"{url}: not the file that was downloaded before: its SHA-256 is "
        f"{found[:12]}..., {before[0][:12]}... was recorded in {beside}; if "
        "the new one is right, remove that record")
  _record(beside, path, found)
  return path


def _record(beside: pathlib.Path, path: pathlib.Path, found: str) -> None:
  """Writes a file's SHA-256 beside it, as `sha256sum --check` reads it."""
  write_whole(beside, f"{found}  {path.name}\n".encode())

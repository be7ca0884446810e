"""Sizes and hashes of archives, from the tables that TFDS ships."""

import functools
import pathlib
from typing import NamedTuple


class Checksum(NamedTuple):
  """What an archive should be."""

  size: int
  sha256: str


def checksum(url: str) -> Checksum | None:
  """Returns what TFDS knows of the file at an address, None if nothing."""
  return _table().get(url)


@functools.cache
def _table() -> dict[str, Checksum]:
  """Reads the tables: address, size, hash, file name, separated by tabs."""
  import tensorflow_datasets as tfds

  root = pathlib.Path(tfds.core.tfds_path())
  files = [root / "url_checksums" / f"{name}.txt"
           for name in ("cifar10", "cifar100")]
  files += [root / "datasets" / name / "checksums.tsv" for name in (
      "imagenette", "oxford_iiit_pet", "oxford_flowers102")]
  found = {}
  for file in files:
    for line in file.read_text("utf-8").splitlines() if file.exists() else ():
      url, size, sha256, *_ = line.split("\t")
      found[url] = Checksum(int(size), sha256)
  return found

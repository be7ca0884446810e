"""Sizes and hashes of archives, from the tables that TFDS ships."""

import functools
import pathlib
from typing import NamedTuple


class Checksum(NamedTuple):
  """The expected size in bytes and SHA-256 of an archive."""

  size: int
  sha256: str


def checksum(url: str) -> Checksum | None:
  """Returns TFDS's checksum of the file at a URL, None if it has none."""
  return _table().get(url)


@functools.cache
def _table() -> dict[str, Checksum]:
  """Reads the tables: URL, size, hash, file name, separated by tabs."""
  import tensorflow_datasets as tfds

  root = pathlib.Path(tfds.core.tfds_path())
  files = [root / "url_checksums" / f"{name}.txt"
           for name in ("cifar10", "cifar100", "mnist", "fashion_mnist")]
  files += [root / "datasets" / name / "checksums.tsv" for name in (
      "imagenette", "oxford_iiit_pet", "oxford_flowers102")]
  table = {}
  for file in files:
    for line in file.read_text("utf-8").splitlines() if file.exists() else ():
      url, size, sha256, *_ = line.split("\t")
      table[url] = Checksum(int(size), sha256)
  return table

"""Where images come from: digits, folders, tar shards, IDX files, TFDS sets.

One module per kind of source; `make_source` chooses by the text of
config.data.source. To add a kind, write a module that returns a Source
(source.py) and name it in `make_source`.
"""

from vit_jax.data.sources import (
  digits,
  folder,
  idx,
  sample,
  shards,
  storage,
  tfds,
  vtab,
)
from vit_jax.data.sources.files import files_source as files_source
from vit_jax.data.sources.source import Example as Example
from vit_jax.data.sources.source import Source as Source
from vit_jax.data.sources.source import fingerprint as fingerprint
from vit_jax.errors import UsageError, suggest


def make_source(source: str, *, split: str, data_dir: str = "") -> Source:
  """Opens one split of a data set.

  Args:
    source: "digits" (the embedded 8x8 digits: train, val, test); a folder of
      images or a file with their labels, local or a URL such as gs://..., and
      relative to data_dir if that is given (see folder.py);
      "shards:PATTERN", tar files (see shards.py); "idx:FOLDER", the files of
      MNIST and its relatives (see idx.py); "tfds:NAME", a data set that
      TFDS has prepared as array_record, where NAME may carry a config and
      version ("tfds:imagenet_v2/topimages:3.1.0"); or "vtab:TASK", a task of
      VTAB made of such a data set (see vtab.py).
    split: such as "train", "train[:98%]", "train+val" (see splits.py), or
      "all" for folders and shards; for VTAB one of vtab.SPLITS.
    data_dir: folder of folders, shards and prepared data sets. For TFDS the
      default is its own, ~/tensorflow_datasets or $TFDS_DATA_DIR.

  Raises:
    UsageError: unknown source or split.
    DataError: the data are missing, empty or inconsistent, or can be read in
      two ways.
  """
  opened = _open(source, split, data_dir)
  if opened.labels is None:
    sample.warn_of_size(opened.name, len(opened))
  else:
    sample.warn_of_gaps(opened.name, opened.labels, opened.class_names or (
        tuple(map(str, range(opened.num_classes)))))
  return opened


def count_without_splits(source: str, *, data_dir: str = "") -> int:
  """Returns the number of images of a data set that has no splits of its own.

  0 for others. A hash makes the splits of such a set; to score it, "all" is
  what a person means.

  Args:
    source, data_dir: see `make_source`.

  Raises:
    DataError: see `make_source`.
  """
  if source.startswith("shards:"):
    return shards.count_without_splits(source, data_dir)
  path = storage.resolve(source, data_dir)
  if source == "digits" or source.startswith(
      ("tfds:", "vtab:", "idx:")) or not (
      source and folder.is_folder(path)):
    return 0
  return folder.count_without_splits(path)


def split_sizes(source: str, *, data_dir: str = "") -> dict[str, int]:
  """Returns the number of images of each split that a data set has.

  One without splits of its own has all its images under "all".

  Args:
    source, data_dir: see `make_source`; VTAB's tasks have splits by rule.

  Raises:
    UsageError, DataError: see `make_source`.
  """
  path = storage.resolve(source, data_dir)
  if source == "digits":
    sizes = {name: len(part) for name, part in digits.split_indices().items()}
  elif source.startswith("tfds:"):
    sizes = tfds.open_prepared(source.removeprefix("tfds:"), data_dir).sizes
  elif source.startswith("idx:"):
    sizes = idx.split_sizes(source, data_dir)
  elif source.startswith("shards:"):
    sizes = shards.split_sizes(source, data_dir)
  elif source and folder.is_folder(path):
    sizes = folder.split_sizes(path)
  else:
    raise _unknown(source, path)
  return {name: size for name, size in sizes.items() if size}


def _open(source: str, split: str, data_dir: str) -> Source:
  """Opens a source of any kind."""
  if source == "digits":
    return digits.open_digits(split)
  if source.startswith("tfds:"):
    return tfds.open_tfds(source, split, data_dir)
  if source.startswith("vtab:"):
    return vtab.open_vtab(source, split, data_dir)
  if source.startswith("shards:"):
    return shards.open_shards(source, split, data_dir)
  if source.startswith("idx:"):
    return idx.open_idx(source, split, data_dir)
  path = storage.resolve(source, data_dir)
  if source and folder.is_folder(path):
    return folder.open_folder(path, split)
  raise _unknown(source, path)


def _unknown(source: str, path: str) -> UsageError:
  """Returns the error about a text that names no data set."""
  return UsageError(
      f"data source {source!r} is not known, and there is no folder {path!r}; "
      "expected digits, tfds:NAME, vtab:TASK, shards:PATTERN, idx:FOLDER or "
      f"the path of a folder of images{suggest(source, ['digits'])}")

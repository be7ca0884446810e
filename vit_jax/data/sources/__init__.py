"""Where images come from: digits, folders, or prepared TFDS data sets.

One module per kind of source; `make_source` chooses by the text of
config.data.source. To add a kind, write a module that returns a Source
(source.py) and name it in `make_source`.
"""

import os

from vit_jax.data.sources import digits, folder, tfds, vtab
from vit_jax.data.sources.files import files_source as files_source
from vit_jax.data.sources.source import Example as Example
from vit_jax.data.sources.source import Source as Source
from vit_jax.data.sources.source import fingerprint as fingerprint
from vit_jax.errors import UsageError, suggest


def make_source(source: str, *, split: str, data_dir: str = "") -> Source:
  """Opens one split of a data set.

  Args:
    source: "digits" (the embedded 8x8 digits: train, val, test); a folder of
      images, relative to data_dir where given (see folder.scan);
      "tfds:NAME", a data set that TFDS has prepared as array_record, where
      NAME may carry a config and version ("tfds:imagenet_v2/topimages:3.1.0");
      or "vtab:TASK", a task of VTAB made of such a data set (see vtab.py).
    split: such as "train", "train[:98%]", "train+val" (see splits.py); for
      VTAB one of vtab.SPLITS.
    data_dir: where folders and prepared data sets lie. For TFDS the default
      is its own, ~/tensorflow_datasets or $TFDS_DATA_DIR.

  Raises:
    UsageError: unknown source or split.
    DataError: the data are missing, empty or inconsistent.
  """
  if source == "digits":
    return digits.open_digits(split)
  if source.startswith("tfds:"):
    return tfds.open_tfds(source, split, data_dir)
  if source.startswith("vtab:"):
    return vtab.open_vtab(source, split, data_dir)
  path = os.path.join(os.path.expanduser(data_dir), os.path.expanduser(source))
  if source and os.path.isdir(path):
    return folder.open_folder(path, split)
  raise UsageError(
      f"data source {source!r} is not known, and there is no folder {path!r}; "
      "expected digits, tfds:NAME, vtab:TASK or the path of a folder of "
      f"images{suggest(source, ['digits'])}")

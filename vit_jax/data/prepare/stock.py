"""TFDS's own builders, for data sets that this package does not prepare."""

from typing import Any

from vit_jax.data.prepare.targets import FAMILIES
from vit_jax.errors import DataError, UsageError, UserError, suggest


def build(name: str, data_dir: str, manual_dir: str) -> str:
  """Downloads and prepares one of TFDS's data sets as array_record.

  Args:
    name: in TFDS's notation, NAME/CONFIG:VERSION.
    data_dir: parent folder of the result.
    manual_dir: folder of archives that TFDS cannot download itself.

  Returns:
    The folder of the files.

  Raises:
    UsageError: TFDS has no such data set.
    UserError: TensorFlow is not installed.
    DataError: TFDS could not prepare it.
  """
  import tensorflow_datasets as tfds

  stem = name.partition("/")[0].partition(":")[0]
  builders = tfds.list_builders(with_community_datasets=False)
  if stem not in builders:
    raise UsageError(
        f"{name!r} is not a data set that vit_jax or TFDS can prepare"
        f"{suggest(stem, [*builders, *FAMILIES])}; for a folder of images "
        "write folder:PATH")
  try:
    import tensorflow  # noqa: F401
  except ImportError as error:
    raise UserError(
        f"{name}: TFDS's own builders need TensorFlow; install the extra "
        "vit_jax[prepare], prepare the data set once, on any machine, and copy "
        f"it. Without TensorFlow: {', '.join(FAMILIES)}, folder:PATH"
    ) from error
  return _download_and_prepare(tfds, name, data_dir, manual_dir)


def _download_and_prepare(
    tfds: Any, name: str, data_dir: str, manual_dir: str) -> str:  # noqa: ANN401
  """Runs TFDS's builder."""
  config = tfds.download.DownloadConfig(manual_dir=manual_dir)
  try:
    builder = tfds.builder(
        name, data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare(download_config=config)
  except Exception as error:  # Builders raise errors of any type.
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise DataError(f"{name}: TFDS could not prepare it: {first}") from error
  return str(builder.data_dir)

"""The files that describe a prepared data set to TFDS, and its place."""

from collections.abc import Mapping, Sequence
import dataclasses
import os

from vit_jax.data.prepare import records, shards
from vit_jax.data.prepare.contents import Contents


@dataclasses.dataclass(frozen=True)
class Identity:
  """Name, config and version; TFDS keeps a set in NAME/CONFIG/VERSION."""

  name: str
  version: str
  config: str = ""

  @property
  def full_name(self) -> str:
    """Returns the name that make_source takes after "tfds:"."""
    return f"{self.name}/{self.config}" if self.config else self.name

  def folder(self, data_dir: str) -> str:
    """Returns the folder of the finished files."""
    return os.path.join(
        data_dir, *filter(None, (self.name, self.config, self.version)))

  def workshop(self, data_dir: str) -> str:
    """Returns the folder they are written in, which TFDS ignores."""
    return self.folder(data_dir) + ".incomplete"


def write(
    identity: Identity, contents: Contents, folder: str,
    lengths: Mapping[str, Sequence[int]], description: str) -> None:
  """Writes dataset_info.json, features.json and the names of the classes.

  Args:
    identity: name of the data set.
    contents: its images and classes.
    folder: with the finished shards.
    lengths: number of records in every shard of each split.
    description: for people.
  """
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core import dataset_info

  info = tfds.core.DatasetInfo(
      builder=dataset_info.DatasetIdentity(
          name=identity.name, version=tfds.core.Version(identity.version),
          config_name=identity.config or None, data_dir=folder,
          module_name=""),
      description=description, homepage=contents.homepage or None,
      features=records.features(contents), supervised_keys=("image", "label"))
  info.set_file_format(shards.SUFFIX)
  splits = []
  for split, counts in lengths.items():
    names = [shards.file_name(identity.name, split, i, len(counts))
             for i in range(len(counts))]
    splits.append(tfds.core.SplitInfo(
        name=split, shard_lengths=list(counts), num_bytes=sum(
            os.path.getsize(os.path.join(folder, name)) for name in names)))
  info.set_splits(tfds.core.SplitDict(splits))
  info.write_to_directory(folder)

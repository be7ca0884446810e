"""Prepares any data set by name, and reports what is on disk."""

import dataclasses
import os
from typing import Any

from vit_jax.data.prepare import convert, make, shards, stock
from vit_jax.data.prepare.targets import (
  FAMILIES,
  FOLDER,
  Target,
  explain,
  find_targets,
)
from vit_jax.data.sources.tfds import open_prepared
from vit_jax.errors import DataError, UsageError


@dataclasses.dataclass(frozen=True)
class Report:
  """A data set on disk.

  Attributes:
    name: after "tfds:" in data.source.
    folder: of the files.
    how: "prepared", "converted" or "was there".
    splits: number of examples of each.
    expected: official number of examples of each split, if known.
    classes: number of labels.
    shards: number of files.
    reused: number of files kept from an interrupted run.
    size: of all files, in bytes.
    notes: further remarks for people.
  """

  name: str
  folder: str
  how: str
  splits: dict[str, int]
  expected: dict[str, int]
  classes: int
  shards: int
  reused: int
  size: int
  notes: tuple[str, ...] = ()


def prepare(
    name: str, *, data_dir: str = "", manual_dir: str = "",
    short_side: int = 0, workers: int = 0, release: str = "",
    rename: str = "", partial: bool = False) -> list[Report]:
  """Makes a data set that `make_source("tfds:NAME")` can read.

  Args:
    name: one of `FAMILIES`, "imagenette/320px-v2", "folder:PATH", or any
      data set that TFDS can prepare if TensorFlow is installed. One that
      exists as TFRecord files is converted, without TensorFlow.
    data_dir: TFDS's own default if empty.
    manual_dir: folder of the archives; TFDS's default,
      data_dir/downloads/manual, if empty.
    short_side: shrink larger images to this smaller side, in a data set
      called NAME_SHORTSIDE; 0 keeps every byte.
    workers: threads; 0 for one per processor.
    release: of imagenet21k, one of RELEASES.
    rename: another name, for folder:PATH.
    partial: continue if archives or images are missing.

  Raises:
    UsageError: unknown names, or options that do not go together.
    DataError: archives are missing or damaged, or the counts are wrong.
  """
  import tensorflow_datasets as tfds

  if "://" in data_dir:
    raise UsageError(f"--data_dir={data_dir}: prepare on a local disk, then "
                     "copy the folder into the bucket")
  data_dir = os.path.abspath(
      os.path.expanduser(data_dir or tfds.core.constants.DATA_DIR))
  manual_dir = os.path.abspath(os.path.expanduser(
      manual_dir or os.path.join(data_dir, "downloads", "manual")))
  workers = workers or os.cpu_count() or 1
  own = name.startswith(FOLDER) or name.partition("/")[0] in FAMILIES
  if rename and not name.startswith(FOLDER):
    raise UsageError("--name is for folder:PATH; other data sets have theirs")
  if release and name != "imagenet21k":
    raise UsageError("--release is for imagenet21k; leave it out")
  if own:
    targets = find_targets(
        name, manual_dir, short_side, release or "released", rename, partial)
    return [_own(target, data_dir, workers) for target in targets]
  explain(name)
  if short_side:
    raise UsageError(
        f"--short_side is for {', '.join(FAMILIES)} and folder:PATH; "
        f"{name} is prepared by TFDS")
  return [_stock(name, data_dir, manual_dir, workers)]


def _own(target: Target, data_dir: str, workers: int) -> Report:
  """Makes a data set of FAMILIES or a folder, unless it exists."""
  folder = target.identity.folder(data_dir)
  expected = dict(target.expected.splits) if target.expected else {}
  if os.path.exists(os.path.join(folder, "dataset_info.json")):
    return dataclasses.replace(_existing(folder, workers), expected=expected)
  reused, notes = make.make(target, data_dir, workers)
  return dataclasses.replace(
      _report(folder, "prepared"), reused=reused, notes=notes,
      expected=expected)


def _stock(
    name: str, data_dir: str, manual_dir: str, workers: int) -> Report:
  """Converts one of TFDS's data sets if it exists, else lets TFDS build it."""
  import tensorflow_datasets as tfds

  try:
    existing = tfds.core.read_only_builder.builder_from_files(
        name, data_dir=data_dir)
  except tfds.core.DatasetNotFoundError:
    existing = None
  except (ValueError, ImportError) as error:
    raise UsageError(f"{name}: {str(error).splitlines()[0]}") from error
  if existing:
    return _existing(os.fspath(existing.data_dir), workers)
  return _report(stock.build(name, data_dir, manual_dir), "prepared")


def _existing(folder: str, workers: int) -> Report:
  """Reports an existing data set, converting it if necessary."""
  builder = _open(folder)
  formats = {form.value for form in builder.info.available_file_formats()}
  if shards.SUFFIX in formats:
    return _report(folder, "was there")
  reused = convert.convert(builder, workers)
  return dataclasses.replace(_report(folder, "converted"), reused=reused)


def _report(folder: str, how: str) -> Report:
  """Counts the records of every file instead of trusting the metadata.

  Raises:
    DataError: a file is missing or damaged.
  """
  info = _open(folder).info
  files = {}
  for split in info.splits.values():
    for path, count in zip(split.filepaths, split.shard_lengths, strict=True):
      file = convert.array_record_path(os.fspath(path), info)
      found = shards.count_records(file) if os.path.exists(file) else None
      if found != count:
        raise DataError(
            f"{file}: {'missing or damaged' if found is None else found}, "
            f"expected {count} records; remove {folder} and prepare the "
            "data set again")
      files[file] = os.path.getsize(file)
  name = info.full_name.rpartition("/")[0]
  data_dir = folder.removesuffix(info.full_name)
  notes: tuple[str, ...] = ()
  try:
    classes = open_prepared(name, data_dir).num_classes
  except DataError as error:
    classes, notes = 0, (f"not usable for training: {error}",)
  return Report(
      name=name, folder=folder, how=how, expected={}, classes=classes,
      splits={key: int(split.num_examples)
              for key, split in info.splits.items()},
      shards=len(files), reused=0, size=sum(files.values()), notes=notes)


def _open(folder: str) -> Any:  # noqa: ANN401
  """Returns TFDS's read-only builder of a folder."""
  import tensorflow_datasets as tfds

  try:
    return tfds.core.read_only_builder.builder_from_directory(folder)
  except Exception as error:  # Damaged JSON leads to many types.
    raise DataError(
        f"{folder}: its description cannot be read "
        f"({str(error).splitlines()[0]}); remove the folder and prepare the "
        "data set again") from error

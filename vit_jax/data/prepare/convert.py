"""TFRecord files that TFDS wrote, copied to array_record without TensorFlow.

Both hold the same bytes per example. A TFRecord file is a sequence of records:
length (8 bytes), checksum of it (4), the bytes, and their checksum (4).
"""

from collections.abc import Iterator
import functools
import os
import struct
from typing import Any

from vit_jax.data.prepare import shards
from vit_jax.errors import DataError

_HEAD, _TAIL = 12, 4


def convert(builder: Any, workers: int) -> int:  # noqa: ANN401
  """Writes array_record files beside those of a prepared data set.

  Args:
    builder: TFDS's read-only builder of it.
    workers: threads.

  Returns:
    The number of files kept from an earlier, interrupted run.

  Raises:
    DataError: another format than TFRecord, or a damaged file.
  """
  info = builder.info
  if info.file_format is None or info.file_format.value != "tfrecord":
    found = info.file_format.value if info.file_format else "an unknown format"
    raise DataError(
        f"{builder.data_dir}: prepared as {found}; only tfrecord can be "
        "converted: prepare it in another --data_dir")
  jobs = []
  for split in info.splits.values():
    for old, count in zip(split.filepaths, split.shard_lengths, strict=True):
      jobs.append(shards.Shard(
          array_record_path(os.fspath(old), info), count,
          functools.partial(read_tfrecord, os.fspath(old))))
  reused = shards.write(jobs, workers, f"converting {info.full_name}")
  info.add_alternative_file_format(shards.SUFFIX)
  _replace_info(info, os.fspath(builder.data_dir))
  return reused


def array_record_path(path: str, info: Any) -> str:  # noqa: ANN401
  """Returns the array_record path that corresponds to a file."""
  folder, name = os.path.split(path)
  return os.path.join(folder, name.replace(
      f".{info.file_format.value}-", f".{shards.SUFFIX}-"))


def read_tfrecord(path: str) -> Iterator[bytes]:
  """Yields the records of a TFRecord file.

  Checksums are not computed; lengths must add up, and the caller checks the
  count.

  Raises:
    DataError: the file is missing, damaged or truncated.
  """
  try:
    size = os.path.getsize(path)
    with open(path, "rb") as file:
      while head := file.read(_HEAD):
        length = struct.unpack("<Q", head[:8])[0] if len(head) == _HEAD else -1
        if not 0 <= length <= size - file.tell() - _TAIL:
          raise DataError(
              f"{path}: damaged or truncated at byte "
              f"{file.tell() - len(head):,} of {size:,}; prepare or copy "
              "the data set again")
        yield file.read(length)
        file.seek(_TAIL, os.SEEK_CUR)
  except OSError as error:
    raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _replace_info(info: Any, folder: str) -> None:  # noqa: ANN401
  """Replaces dataset_info.json atomically."""
  name, temporary = "dataset_info.json", os.path.join(folder, ".converting")
  os.makedirs(temporary, exist_ok=True)
  info.write_dataset_info_json(temporary)
  os.replace(os.path.join(temporary, name), os.path.join(folder, name))
  os.rmdir(temporary)

"""Files of records: which example goes where, and writing them in parallel.

A file ("shard") gets its name only when it is complete. Complete files are
kept on a restart, so that an interruption costs only the shards in progress.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
import dataclasses
import hashlib
import math
import os
import threading
from typing import Any

from absl import logging
from jaxtyping import Int
import numpy as np

from vit_jax.data.progress_bar import Bar
from vit_jax.errors import DataError

SUFFIX = "array_record"
# Large enough for buckets and hard disks, few enough to keep all of them open.
SHARD_BYTES = 256 << 20
MOST_SHARDS = 1024
# One example per group, for random access; images are compressed already.
_OPTIONS = "group_size:1,uncompressed"
_TEMPORARY = ".tmp"


@dataclasses.dataclass(frozen=True)
class Shard:
  """A file to write.

  Attributes:
    path: of the file.
    count: number of records.
    records: yields them in order.
  """

  path: str
  count: int
  records: Callable[[], Iterator[bytes]]


def order(split: str, keys: Any) -> Int[np.ndarray, " n"]:  # noqa: ANN401
  """Returns the example numbers in TFDS's order, by a hash of their keys.

  Raises:
    DataError: two examples have the same key.
  """
  salted = hashlib.md5(split.encode(), usedforsecurity=False)
  hashes = np.empty(len(keys), "S16")
  for i, key in enumerate(keys.tolist()):
    digest = salted.copy()
    digest.update(key)
    hashes[i] = digest.digest()
  places = np.argsort(hashes, kind="stable")
  duplicates = np.flatnonzero(hashes[places][1:] == hashes[places][:-1])
  if len(duplicates):
    name = keys[places[duplicates[0]]].decode()
    raise DataError(
        f"{split}: two images are called {name!r} ({len(duplicates):,} such "
        "pairs); expected each name once")
  return places


def boundaries(count: int, size: int) -> list[range]:
  """Returns the range of positions in the order that each shard holds.

  Args:
    count: number of examples.
    size: of all of them, in bytes.
  """
  number = math.ceil(size / SHARD_BYTES)
  if number > MOST_SHARDS:
    number = max(MOST_SHARDS, math.ceil(size / (4 * SHARD_BYTES)))
  number = max(1, min(number, count))
  ends = [round(count * i / number) for i in range(number + 1)]
  return [range(*pair) for pair in zip(ends, ends[1:], strict=False)]


def file_name(name: str, split: str, number: int, total: int) -> str:
  """Returns TFDS's name of a shard."""
  return f"{name}-{split}.{SUFFIX}-{number:05d}-of-{total:05d}"


def write(shards: Sequence[Shard], workers: int, title: str) -> int:
  """Writes the shards that do not exist; returns the number of the others.

  Args:
    shards: all of them.
    workers: threads. Reading, resizing and writing release the GIL.
    title: of the progress bar.

  Raises:
    DataError: an image cannot be read or a file cannot be written; finished
      shards are kept.
  """
  todo = [shard for shard in shards if not finished(shard)]
  total = sum(shard.count for shard in shards)
  stop = threading.Event()
  lock = threading.Lock()
  with Bar(
      total=total, initial=total - sum(shard.count for shard in todo),
      desc=title, unit="image", disable=None, leave=False,
  ) as bar, futures.ThreadPoolExecutor(workers) as pool:

    def advance() -> None:
      with lock:
        bar.update()

    running = [pool.submit(_write, shard, stop, advance) for shard in todo]
    try:
      for done in futures.as_completed(running):
        done.result()
    except BaseException:  # Including Ctrl-C: stop all workers.
      stop.set()
      for future in running:
        future.cancel()
      raise
  return len(shards) - len(todo)


def finished(shard: Shard) -> bool:
  """Returns whether the file exists with all its records."""
  if not os.path.exists(shard.path):
    return False
  count = count_records(shard.path)
  if count == shard.count:
    return True
  logging.warning(
      "%s: %s of %d records can be read; writing it again", shard.path,
      "none" if count is None else count, shard.count)
  return False


def count_records(path: str) -> int | None:
  """Returns the number of records in a file, None if it is damaged."""
  from array_record.python import array_record_module

  try:
    reader = array_record_module.ArrayRecordReader(path)
    count = int(reader.num_records())
    reader.close()
  except Exception:  # The C++ library raises RuntimeError and others.
    return None
  return count


class _Stopped(Exception):
  """Another shard failed, or the user pressed Ctrl-C."""


def _write(
    shard: Shard, stop: threading.Event, advance: Callable[[], None]) -> None:
  """Writes one shard to a temporary file, then renames it."""
  from array_record.python import array_record_module

  temporary = shard.path + _TEMPORARY
  try:
    writer = array_record_module.ArrayRecordWriter(temporary, _OPTIONS)
    try:
      for record in shard.records():
        if stop.is_set():
          raise _Stopped
        writer.write(record)
        advance()
    finally:
      writer.close()
    written = count_records(temporary)
    if written != shard.count:
      raise DataError(
          f"{shard.path}: {written} records were written instead of "
          f"{shard.count}; is the disk full?")
    os.replace(temporary, shard.path)
  except _Stopped:
    pass
  except (OSError, RuntimeError) as error:
    raise DataError(f"{shard.path}: cannot be written: "
                    f"{str(error).splitlines()[0][:200]}") from error
  finally:
    if os.path.exists(temporary):
      os.remove(temporary)

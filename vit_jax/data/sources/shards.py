"""Tar files of labelled images, as WebDataset writes them, as a source.

"shards:data/birds-{train,val}-{000..146}.tar". A shard whose file, or folder,
is named after a split belongs to it; shards without such names are split by a
hash of the samples' names, as folders without splits are. Labels are class
numbers or, as text, class names; classes.txt beside the shards may name the
numbers, one a line. Images are read at random by their offset.
"""

from collections.abc import Mapping, Sequence
from concurrent import futures
import functools
import hashlib
import json
import posixpath
import re

from jaxtyping import Int
import numpy as np

from vit_jax.data import splits
from vit_jax.data.progress_bar import Bar
from vit_jax.data.sources import patterns, sample, storage, tar_index
from vit_jax.data.sources.classes import UNLABELLED
from vit_jax.data.sources.listing import class_order, warn_of_one_class
from vit_jax.data.sources.messages import shorten
from vit_jax.data.sources.source import Example, Source
from vit_jax.data.sources.tar_index import Sample
from vit_jax.errors import DataError, suggest

_CLASSES = "classes.txt"
_BY_HASH = ""
_THREADS = 16


def open_shards(source: str, split: str, data_dir: str = "") -> Source:
  """Opens a part of some tar files.

  Args:
    source: "shards:PATTERN"; see patterns.py.
    split: such as "train" or "train[:90%]" (see sample.py), or "all".
    data_dir: that a relative pattern is relative to.

  Raises:
    UsageError: a wrong pattern, or no such split.
    DataError: a shard is missing, or is not what was expected (tar_index.py).
  """
  paths = patterns.matching_files(source.removeprefix("shards:"), data_dir)
  groups = _group(paths)
  wanted = splits.split_names(split) | {"train", _BY_HASH}
  paths = [path for name, members in groups.items() for path in members
           if name in wanted or sample.ALL in wanted or "train" not in groups]
  indexes = _read_indexes(paths)
  shards = np.repeat(np.arange(len(paths)), [len(s) for _, s in indexes])
  samples = [item for _, items in indexes for item in items]
  names = [f"{posixpath.basename(paths[shard])}/{item.key}"
           for shard, item in zip(shards, samples, strict=True)]
  members = _members(groups, paths, shards, names)
  labels, class_names, num_classes = _labels(
      paths, shards, samples,
      None if _BY_HASH in groups else members.get("train"))
  chosen = sample.select(split, members, names, labels)
  warn_of_one_class(source, class_names or ("0",) * num_classes)
  listing = hashlib.sha256(json.dumps(
      [names, labels.tolist()]).encode()).hexdigest()
  return Source(
      name=f"{source}, {split}", class_names=class_names,
      num_classes=num_classes, indices=chosen, origin=f"shards {listing}",
      labels=labels[chosen].astype(np.int32),
      read=functools.partial(
          _read, paths, [stamp for stamp, _ in indexes], shards, samples,
          labels))


def count_without_splits(source: str, data_dir: str = "") -> int:
  """Returns the number of images of shards that have no splits, else 0."""
  paths = patterns.matching_files(source.removeprefix("shards:"), data_dir)
  if _BY_HASH not in _group(paths):
    return 0
  return sum(len(samples) for _, samples in _read_indexes(paths))


def split_sizes(source: str, data_dir: str = "") -> dict[str, int]:
  """Returns the number of images of each split, "all" where it has none."""
  groups = _group(
      patterns.matching_files(source.removeprefix("shards:"), data_dir))
  return {name or sample.ALL: sum(
      len(samples) for _, samples in _read_indexes(paths))
          for name, paths in groups.items()}


def _group(paths: Sequence[str]) -> dict[str, list[str]]:
  """Returns the shards of each split, or all of them as _BY_HASH.

  Raises:
    DataError: only some of the names tell their split.
  """
  groups: dict[str, list[str]] = {}
  for path in paths:
    groups.setdefault(_split(path), []).append(path)
  if len(groups) > 1 and _BY_HASH in groups:
    raise DataError(
        f"{storage.printable(groups[_BY_HASH][0])}: its name tells no split, "
        "as the names of other shards do; expected train, val or test in the "
        "name of every shard, or of none")
  order = ["train", "val", "eval", "test", _BY_HASH]
  return {split: groups[split] for split in order if split in groups}


def _split(path: str) -> str:
  """Returns the split that the name of a shard, or of its folder, tells."""
  folder, _, name = path.rpartition("/")
  words = re.split(r"[\W\d_]+", name.removesuffix(".tar"))
  found = {splits.canonical_split(word) for word in words} - {None}
  if not found:
    found = {splits.canonical_split(posixpath.basename(folder))} - {None}
  if len(found) > 1:
    raise DataError(f"{storage.printable(path)}: its name tells two splits; "
                    "rename it")
  return found.pop() or "" if found else _BY_HASH


def _read_indexes(
    paths: Sequence[str]) -> list[tuple[storage.Stamp, list[Sample]]]:
  """Returns the indexes of all shards, with a bar where it takes long."""
  with futures.ThreadPoolExecutor(_THREADS) as pool:
    return list(Bar(
        pool.map(tar_index.read_index, paths), total=len(paths),
        desc="reading headers", unit="shard", disable=None, leave=False,
        delay=1))


def _members(
    groups: Mapping[str, Sequence[str]], paths: Sequence[str],
    shards: Int[np.ndarray, " n"], names: Sequence[str],
) -> dict[str, Int[np.ndarray, " _"]]:
  """Returns the numbers of the samples of each split."""
  if _BY_HASH in groups:
    assigned = np.array([sample.split_of(name) for name in names])
    return {split: np.flatnonzero(assigned == split)
            for split in ("train", "val", "test")}
  number = {path: i for i, path in enumerate(paths)}
  return {split: np.flatnonzero(np.isin(
      shards, [number[path] for path in members if path in number]))
          for split, members in groups.items()}


def _labels(
    paths: Sequence[str], shards: Int[np.ndarray, " n"],
    samples: Sequence[Sample], train: Int[np.ndarray, " m"] | None,
) -> tuple[Int[np.ndarray, " n"], tuple[str, ...] | None, int]:
  """Returns the label of each sample, the class names and their number.

  The classes are those of train, if there is one.

  Raises:
    DataError: names the sample whose label is not one of the classes.
  """
  texts = [item.label for item in samples]
  known = texts if train is None or not len(train) else [
      texts[i] for i in train]
  listed = _listed_classes(paths)
  if all(re.fullmatch(r"-?\d+", text) for text in known):
    number = len(listed) if listed else max(map(int, known), default=-1) + 1
    labels = {str(label): label for label in range(number)}
    class_names = listed
  else:
    class_names = listed or tuple(class_order(known))
    labels = {name: label for label, name in enumerate(class_names)}
  result = np.empty(len(texts), np.int64)
  for i, text in enumerate(texts):
    text = str(int(text)) if re.fullmatch(r"-?\d+", text) and (
        text not in labels) else text
    if text not in labels:
      raise DataError(
          f"{storage.printable(paths[shards[i]])}: sample {samples[i].key!r} "
          f"has the label {texts[i]!r}; expected "
          f"{_expected(labels)}{suggest(text, labels)}"
          f"{UNLABELLED if text.startswith('-') else ''}")
    result[i] = labels[text]
  return result, class_names, len(labels)


def _expected(labels: Mapping[str, int]) -> str:
  """Returns the classes as a message shows them."""
  if all(name == str(label) for name, label in labels.items()):
    return f"a class number from 0 to {max(0, len(labels) - 1)}"
  return f"one of the classes {shorten(list(labels))}"


def _listed_classes(paths: Sequence[str]) -> tuple[str, ...] | None:
  """Returns the names in classes.txt beside the first shard, if it is there."""
  path = f"{paths[0].rpartition('/')[0]}/{_CLASSES}"
  if not storage.is_file(path):
    return None
  try:
    lines = storage.read(path).decode("utf-8-sig").splitlines()
  except UnicodeDecodeError:
    raise DataError(f"{storage.printable(path)}: not UTF-8; save the file as "
                    "UTF-8") from None
  names = tuple(line.strip() for line in lines if line.strip())
  twice = {name for name in names if names.count(name) > 1}
  if twice or not names:
    raise DataError(
        f"{storage.printable(path)}: {shorten(sorted(twice)) or 'no class'} "
        f"{'occurs more than once' if twice else ''}; expected one name a line")
  return names


def _read(
    paths: Sequence[str], stamps: Sequence[storage.Stamp],
    shards: Int[np.ndarray, " n"], samples: Sequence[Sample],
    labels: Int[np.ndarray, " n"], index: int) -> Example:
  """Reads one image by its offset."""
  shard, item = int(shards[index]), samples[index]
  path = paths[shard]
  name = f"{storage.printable(path)}: {item.key}{item.suffix}"
  # A stat is cheap on a disk; buckets are trusted.
  if not storage.is_remote(path) and storage.stamp(path) != stamps[shard]:
    raise DataError(f"{name}: the shard has changed since it was indexed; "
                    "run the command again")
  data = storage.read(path, item.offset, item.size)
  if len(data) != item.size:
    raise DataError(f"{name}: only {len(data)} of {item.size} bytes are there")
  return {"image": data, "label": int(labels[index]), "id": name,
          "file": posixpath.basename(item.key) + item.suffix}

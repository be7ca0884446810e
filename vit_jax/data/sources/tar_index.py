"""What a tar shard holds and where, found once by reading its headers.

Shards are written as WebDataset does: the members of a sample lie one after
the other and have one name up to the first dot, its key: 0001.jpg and 0001.cls
(a class number or name), or 0001.json with a "label". The index is kept in
VIT_JAX_CACHE, else in ~/.cache/vit_jax, for as long as the size and the time
of the last change of the shard stay the same.
"""

from collections.abc import Iterator, Mapping
import hashlib
import json
import os
import posixpath
import re
import tarfile
from typing import BinaryIO, NamedTuple

from absl import logging

from vit_jax.data import tar
from vit_jax.data.sources import storage
from vit_jax.data.sources.tree import SUFFIXES, is_hidden
from vit_jax.errors import DataError

_VERSION = 1
_NAME = re.compile(r"((?:.*/)?[^/.]+)\.([^/]*)")
_MAX_LABEL = 1 << 20  # Bytes of a .cls or .json member.
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz",
               b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}


class Sample(NamedTuple):
  """An image in a shard and its label.

  Attributes:
    key: its name up to the first dot.
    suffix: of the image, with its dot.
    offset: of the image's bytes in the shard.
    size: of the image, in bytes.
    label: class number or name, as text.
  """

  key: str
  suffix: str
  offset: int
  size: int
  label: str


def read_index(path: str) -> tuple[storage.Stamp, list[Sample]]:
  """Returns the samples of a shard, from the cache where it is up to date.

  Args:
    path: of a tar file, local or a URL.

  Raises:
    DataError: it is not an uncompressed tar file of labelled images, or is
      damaged or truncated.
  """
  stamp = storage.stamp(path)
  cache = _cache_file(path)
  samples = _read_cache(cache, path, stamp)
  if samples is None:
    samples = list(_samples(path, stamp.size))
    if not samples:
      raise DataError(f"{storage.printable(path)}: no image with a label in "
                      "it; expected 0001.jpg, 0001.cls and so on")
    _write_cache(cache, path, stamp, samples)
  return stamp, samples


def _samples(path: str, size: int) -> Iterator[Sample]:
  """Yields the samples of a shard in order."""
  with storage.open_file(path) as file:
    path = storage.printable(path)
    _check_kind(path, file.read(tar.BLOCK), size)
    key = ""
    members: dict[str, tarfile.TarInfo] = {}
    seen: set[str] = set()
    for name, suffix, member in _members(path, file, size):
      if name != key:
        yield from _sample(path, file, key, members)
        key, members = name, {}
        if name in seen:
          raise DataError(
              f"{path}: two samples are called {name!r}; expected the members "
              "of a sample one after the other, and each key once")
        seen.add(name)
      if suffix in members:
        raise DataError(f"{path}: {name}.{suffix} occurs twice")
      members[suffix] = member
    yield from _sample(path, file, key, members)


def _check_kind(path: str, start: bytes, size: int) -> None:
  """Raises DataError for files that are not uncompressed tar files."""
  kind = next((kind for magic, kind in _COMPRESSED.items()
               if start.startswith(magic)), "")
  if kind:
    raise DataError(
        f"{path}: compressed ({kind}), so that its images cannot be read at "
        "random; decompress it to a plain .tar file")
  if not size:
    raise DataError(f"{path}: an empty file, not a tar file")


def _members(
    path: str, file: BinaryIO, size: int
) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
  """Yields key, suffix and header of the files in a shard."""
  end = 0
  try:
    for member in tar.headers(file, 0, size):
      end = member.offset_data + -(-member.size // tar.BLOCK) * tar.BLOCK
      parts = member.name.split("/")
      if member.isdir() or any(is_hidden(part) for part in parts):
        continue
      _check_member(path, member)
      match = _NAME.fullmatch(member.name)
      if match:
        yield match[1], match[2].lower(), member
  except tarfile.TarError as error:
    raise DataError(
        f"{path}: a damaged or truncated tar file of {size:,} bytes ({error}); "
        "copy or make it again") from error
  file.seek(end)
  while rest := file.read(1 << 20):
    if rest.strip(b"\0"):
      raise DataError(
          f"{path}: there is more after the end mark, as in joined tar files, "
          "which readers would not see; write one tar file")


def _check_member(path: str, member: tarfile.TarInfo) -> None:
  kind = ("a link" if member.issym() or member.islnk() else
          "a sparse file" if member.issparse() else
          "" if member.isreg() else "not a file")
  if kind:
    raise DataError(f"{path}: {member.name} is {kind}; expected plain files "
                    "(tar --hard-dereference --dereference stores them)")


def _sample(
    path: str, file: BinaryIO, key: str,
    members: Mapping[str, tarfile.TarInfo]) -> Iterator[Sample]:
  """Yields the sample that some members make, if they are one.

  Raises:
    DataError: it lacks its image or its label, or has several images.
  """
  images = [suffix for suffix in members if f".{suffix}" in SUFFIXES]
  label = _label(path, file, key, members)
  if not images and not label:
    return  # Captions or notes.
  names = ", ".join(f"{posixpath.basename(key)}.{suffix}" for suffix in members)
  if len(images) != 1:
    raise DataError(
        f"{path}: sample {key!r} has {len(images) or 'no'} images, but "
        f"{names}; expected one, called by its key up to the first dot")
  if not label:
    raise DataError(
        f"{path}: sample {key!r} has no label, but {names}; expected "
        f"{posixpath.basename(key)}.cls, or .json with a \"label\"")
  image = members[images[0]]
  yield Sample(key, f".{images[0]}", image.offset_data, image.size, label)


def _label(
    path: str, file: BinaryIO, key: str,
    members: Mapping[str, tarfile.TarInfo]) -> str:
  """Returns the label of a sample, "" if it has none."""
  for suffix in ("cls", "json"):
    member = members.get(suffix)
    if not member:
      continue
    if member.size > _MAX_LABEL:
      raise DataError(f"{path}: {key}.{suffix} of {member.size:,} bytes is not "
                      "a label")
    file.seek(member.offset_data)
    try:
      text = file.read(member.size).decode("utf-8").strip()
      if suffix == "json":
        value = json.loads(text).get("label", "")
        if isinstance(value, bool) or not isinstance(value, int | str):
          raise ValueError(f"label {value!r}")
        text = str(value).strip()
    except (ValueError, AttributeError) as error:
      raise DataError(f"{path}: {key}.{suffix} cannot be read ({error}); "
                      "expected a class number or name") from None
    if suffix == "cls" and not text:
      raise DataError(f"{path}: {key}.{suffix} is empty; expected a class "
                      "number or name")
    if text:
      return text
  return ""


def _cache_file(path: str) -> str:
  """Returns where the index of a shard is kept, "" if there is no such place.

  Without a home directory "~" would become a folder of this name.
  """
  folder = os.path.expanduser(
      os.environ.get("VIT_JAX_CACHE") or "~/.cache/vit_jax")
  digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
  return "" if folder.startswith("~") else os.path.join(
      folder, "tar_index", f"{digest}.json")


def _read_cache(
    cache: str, path: str, stamp: storage.Stamp) -> list[Sample] | None:
  """Returns the stored index of a shard, None if there is none or it is old."""
  if not stamp.changed:
    return None  # Nothing would tell that the shard has changed.
  try:
    with open(cache, encoding="utf-8") as file:
      stored = json.load(file)
    if stored["of"] != [_VERSION, path, *stamp]:
      return None
    return [Sample(*sample) for sample in stored["samples"]]
  except (OSError, ValueError, KeyError, TypeError):
    return None  # Not there, or damaged: it is made again.


def _write_cache(
    cache: str, path: str, stamp: storage.Stamp, samples: list[Sample]
) -> None:
  """Stores an index; without a place to do so it is made again next time."""
  temporary = f"{cache}.{os.getpid()}.tmp"
  try:
    os.makedirs(os.path.dirname(cache), exist_ok=True)
    with open(temporary, "w", encoding="utf-8") as file:
      json.dump({"of": [_VERSION, path, *stamp], "samples": samples}, file)
    os.replace(temporary, cache)
  except OSError as error:
    logging.log_first_n(
        logging.WARNING, "the index of %s cannot be kept in %s: %s", 1, path,
        cache, error.strerror)

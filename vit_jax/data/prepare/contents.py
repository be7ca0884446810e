"""What a data set consists of, before anything is read but headers."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from jaxtyping import Int, UInt8
import numpy as np

Picture = bytes | UInt8[np.ndarray, "h w 3"]


@dataclasses.dataclass(frozen=True)
class Split:
  """The pictures of one split, as arrays: there may be 14 million.

  Attributes:
    keys: what TFDS hashes to put them in order (bytes, fixed width).
    names: what they are called, mostly the same.
    labels: 0..num_classes - 1.
    files: index of the file, in `Contents.paths`, that holds each.
    offsets: where in that file it begins, in bytes.
    sizes: how long it is, in bytes.
    extra: further labels by the names of their features.
  """

  keys: Any
  names: Any
  labels: Int[np.ndarray, " n"]
  files: Int[np.ndarray, " n"]
  offsets: Int[np.ndarray, " n"]
  sizes: Int[np.ndarray, " n"]
  extra: Mapping[str, Int[np.ndarray, " n"]] = dataclasses.field(
      default_factory=dict)

  def __len__(self) -> int:
    return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Contents:
  """A data set that is ready to be written.

  Attributes:
    paths: uncompressed files in which the pictures lie.
    splits: by name.
    class_names: one a label, as stored; WordNet ids stay ids.
    homepage: address for people.
    name_feature: under which a picture's name is stored.
    extra_names: class names of the further labels.
    picture: makes what lies in the file a picture file, or its pixels.
    per_class: pictures each class should have, by split, where the archives
      themselves say so.
    notes: what people should know of it, one line each.
  """

  paths: tuple[str, ...]
  splits: Mapping[str, Split]
  class_names: tuple[str, ...]
  homepage: str
  name_feature: str = "file_name"
  extra_names: Mapping[str, tuple[str, ...]] = dataclasses.field(
      default_factory=dict)
  picture: Callable[[bytes], Picture] = bytes
  per_class: Mapping[str, Int[np.ndarray, " k"]] = dataclasses.field(
      default_factory=dict)
  notes: tuple[str, ...] = ()


class Rows:
  """Collects a split picture by picture."""

  def __init__(self) -> None:
    self._parts: list[Split] = []
    self._rows: list[tuple] = []

  def add(
      self, key: str, label: int, file: int, offset: int, size: int, *,
      name: str = "", **extra: int) -> None:
    """Adds a picture; the arguments are those of Split, one each."""
    self._rows.append((key, name or key, label, file, offset, size, extra))
    if len(self._rows) >= 100_000:
      self._pack()

  def split(self) -> Split:
    """Returns all that was added."""
    if self._rows or not self._parts:
      self._pack()
    parts = self._parts
    fields = {
        field: np.concatenate([getattr(part, field) for part in parts])
        for field in ("keys", "names", "labels", "files", "offsets", "sizes")}
    extra = {key: np.concatenate([part.extra[key] for part in parts])
             for key in parts[0].extra}
    return Split(**fields, extra=extra)

  def _pack(self) -> None:
    """Turns rows into arrays, which take a tenth of the memory."""
    keys, names, labels, files, offsets, sizes, extra = (
        zip(*self._rows, strict=True) if self._rows else ((),) * 7)
    self._rows = []

    def text(values: tuple[str, ...]) -> Any:  # noqa: ANN401
      encoded = [value.encode("utf-8", "surrogateescape") for value in values]
      return np.array(encoded, dtype=bytes) if values else np.zeros(0, "S1")

    self._parts.append(Split(
        keys=text(keys), names=text(names),
        labels=np.array(labels, np.int64), files=np.array(files, np.int32),
        offsets=np.array(offsets, np.int64), sizes=np.array(sizes, np.int64),
        extra={key: np.array([row[key] for row in extra], np.int64)
               for key in (extra[0] if extra else ())}))


@dataclasses.dataclass(frozen=True)
class Request:
  """What a family is asked for.

  Attributes:
    manual_dir: the folder with the archives (or of pictures).
    scratch: a folder for what must be unpacked; kept until all is written.
    config: which of several variants, such as "320px-v2".
    release: of ImageNet-21k.
    partial: whether archives and pictures may be missing.
  """

  manual_dir: str
  scratch: str
  config: str = ""
  release: str = ""
  partial: bool = False

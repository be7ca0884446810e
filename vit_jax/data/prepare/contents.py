"""The images of a data set, listed before anything but headers is read."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from jaxtyping import Int, UInt8
import numpy as np

Image = bytes | UInt8[np.ndarray, "h w c"]  # An image file, or pixels.


@dataclasses.dataclass(frozen=True)
class Split:
  """The images of one split, as arrays since there may be 14 million.

  Attributes:
    keys: hashed by TFDS to determine the order (bytes, fixed width).
    names: of the images, usually equal to the keys.
    labels: 0..num_classes - 1.
    files: index of the file, in `Contents.paths`, that holds each.
    offsets: of each in that file, in bytes.
    sizes: of each, in bytes.
    extra: further labels, by feature name.
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
  """A data set ready to be written.

  Attributes:
    paths: uncompressed files in which the images lie.
    splits: by name.
    class_names: one per label, as stored; WordNet ids stay ids.
    homepage: URL for people.
    name_feature: feature under which an image's name is stored.
    extra_names: class names of the further labels.
    to_image: turns the stored bytes into an image file, or pixels.
    channels: of those pixels.
    per_class: expected images of each class, by split, if the archives
      state them.
    notes: remarks for people, one line each.
  """

  paths: tuple[str, ...]
  splits: Mapping[str, Split]
  class_names: tuple[str, ...]
  homepage: str
  name_feature: str = "file_name"
  extra_names: Mapping[str, tuple[str, ...]] = dataclasses.field(
      default_factory=dict)
  to_image: Callable[[bytes], Image] = bytes
  channels: int = 3
  per_class: Mapping[str, Int[np.ndarray, " k"]] = dataclasses.field(
      default_factory=dict)
  notes: tuple[str, ...] = ()


class Rows:
  """Collects a split image by image."""

  def __init__(self) -> None:
    self._parts: list[Split] = []
    self._rows: list[tuple] = []

  def add(
      self, key: str, label: int, file: int, offset: int, size: int, *,
      name: str = "", **extra: int) -> None:
    """Adds an image; the arguments are those of Split, one each."""
    self._rows.append((key, name or key, label, file, offset, size, extra))
    if len(self._rows) >= 100_000:
      self._pack()

  def split(self) -> Split:
    """Returns everything that was added."""
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
  """The arguments of the function that lists a data set.

  Attributes:
    manual_dir: the folder with the archives (or of images).
    scratch: folder for decompressed copies; kept until all is written.
    config: one of several variants, such as "320px-v2".
    release: of ImageNet-21k.
    partial: whether archives and images may be missing.
  """

  manual_dir: str
  scratch: str
  config: str = ""
  release: str = ""
  partial: bool = False

"""CIFAR-10 and CIFAR-100 from the standard archives, binary or Python's.

The binary archives hold numbers only and are preferred. Those for Python are
pickles, which could run any program when loaded; they are read by an unpickler
that creates numpy arrays and plain values only.
"""

import dataclasses
import io
import os
import pickle
from typing import Any

from jaxtyping import UInt8
import numpy as np

from vit_jax.data.prepare import archives
from vit_jax.data.prepare.contents import Contents, Request, Rows, Split
from vit_jax.errors import DataError

PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
BASE = "https://www.cs.toronto.edu/~kriz"
SIDE = 32
_PIXELS = 3 * SIDE * SIDE


@dataclasses.dataclass(frozen=True)
class _Layout:
  """How one of the two is packed: files of each split, labels in order."""

  stem: str
  binary: dict[str, tuple[str, ...]]
  python: dict[str, tuple[str, ...]]
  names: dict[str, str]  # feature -> file of names, in the binary archive
  keys: dict[str, str]  # feature -> key of the labels in the pickles
  meta: tuple[str, dict[str, str]]  # pickle of names, feature -> its key


_LAYOUTS = {
    "cifar10": _Layout(
        "cifar-10",
        {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
         "test": ("test_batch.bin",)},
        {"train": tuple(f"data_batch_{i}" for i in range(1, 6)),
         "test": ("test_batch",)},
        {"label": "batches.meta.txt"}, {"label": "labels"},
        ("batches.meta", {"label": "label_names"})),
    "cifar100": _Layout(
        "cifar-100", {"train": ("train.bin",), "test": ("test.bin",)},
        {"train": ("train",), "test": ("test",)},
        {"coarse_label": "coarse_label_names.txt",
         "label": "fine_label_names.txt"},
        {"coarse_label": "coarse_labels", "label": "fine_labels"},
        ("meta", {"coarse_label": "coarse_label_names",
                  "label": "fine_label_names"})),
}


def cifar10(request: Request) -> Contents:
  """Lists CIFAR-10."""
  return _cifar("cifar10", request)


def cifar100(request: Request) -> Contents:
  """Lists CIFAR-100; the coarse labels are kept beside the fine ones."""
  return _cifar("cifar100", request)


def _cifar(name: str, request: Request) -> Contents:
  layout = _LAYOUTS[name]
  binary, python = (f"{layout.stem}-{kind}.tar.gz"
                    for kind in ("binary", "python"))
  is_python = not os.path.isfile(
      os.path.join(request.manual_dir, binary)) and os.path.isfile(
          os.path.join(request.manual_dir, python))
  path = archives.find(request, python if is_python else binary, PAGE,
                       url=f"{BASE}/{binary}")
  tar = archives.plain(path, request.scratch)
  members = archives.members(tar, called=path)
  reader = _read_python if is_python else _read_binary
  names, records = reader(path, tar, members, layout)
  paths: list[str] = []
  splits = {}
  for split, array in records.items():
    target = os.path.join(request.scratch, f"{name}-{split}.bin")
    _write_once(target, array)
    splits[split] = _split(path, split, array, names, len(paths))
    paths.append(target)
  return Contents(
      paths=tuple(paths), splits=splits, class_names=names["label"],
      homepage=PAGE, name_feature="id", to_image=_planes_to_rgb,
      extra_names={key: value for key, value in names.items()
                   if key != "label"})


Names = dict[str, tuple[str, ...]]
Records = dict[str, UInt8[np.ndarray, "n bytes"]]


def _read_binary(
    path: str, tar: str, members: list[archives.Member], layout: _Layout,
) -> tuple[Names, Records]:
  """Returns class names and records: label bytes, then 3072 of pixels."""
  length = len(layout.names) + _PIXELS
  wanted = archives.by_name(
      path, members, [*layout.names.values(), *sum(layout.binary.values(), ())])
  names = {
      feature: tuple(archives.read(tar, wanted[file]).decode().split("\n"))
      for feature, file in layout.names.items()}
  names = {feature: tuple(filter(None, map(str.strip, lines)))
           for feature, lines in names.items()}
  records = {}
  for split, files in layout.binary.items():
    parts = []
    for file in files:
      data = archives.read(tar, wanted[file])
      if len(data) % length:
        raise DataError(
            f"{path}: {file} has {len(data):,} bytes, not a multiple of "
            f"the {length} of an image; get it again from {PAGE}")
      parts.append(np.frombuffer(data, np.uint8).reshape(-1, length))
    records[split] = np.concatenate(parts)
  return names, records


def _read_python(
    path: str, tar: str, members: list[archives.Member], layout: _Layout,
) -> tuple[Names, Records]:
  """Returns the same from the archive of pickles."""
  meta, keys = layout.meta
  wanted = archives.by_name(
      path, members, [meta, *sum(layout.python.values(), ())])

  def load(file: str) -> dict[str, Any]:
    return _unpickle(f"{path}: {file}", archives.read(tar, wanted[file]))

  meta_values = load(meta)
  names = {feature: tuple(map(_text, meta_values[key]))
           for feature, key in keys.items()}
  records = {}
  for split, files in layout.python.items():
    parts = []
    for batch in map(load, files):
      columns = [np.asarray(batch[key], np.uint8)[:, None]
                 for key in layout.keys.values()]
      parts.append(np.concatenate(
          [*columns, np.asarray(batch["data"], np.uint8)], axis=1))
    records[split] = np.concatenate(parts)
  return names, records


def _split(
    path: str, split: str, array: UInt8[np.ndarray, "n bytes"], names: Names,
    file: int) -> Split:
  """Lists the records of one split."""
  first = len(names)
  columns = {feature: array[:, k] for k, feature in enumerate(names)}
  for feature, values in columns.items():
    if values.size and values.max() >= len(names[feature]):
      raise DataError(
          f"{path}: {feature} {values.max()} in {split}, but there are only "
          f"{len(names[feature])} names; get it again from {PAGE}")
  rows = Rows()
  for i in range(len(array)):
    labels = {feature: int(values[i]) for feature, values in columns.items()}
    rows.add(str(i), labels.pop("label"), file, i * array.shape[1] + first,
             _PIXELS, name=f"{split}_{i:05d}", **labels)
  return rows.split()


def _write_once(target: str, array: UInt8[np.ndarray, "n bytes"]) -> None:
  """Writes records to a file of their own, unless it exists."""
  if os.path.exists(target) and os.path.getsize(target) == array.nbytes:
    return
  os.makedirs(os.path.dirname(target), exist_ok=True)
  array.tofile(target + ".tmp")
  os.replace(target + ".tmp", target)


def _planes_to_rgb(data: bytes) -> UInt8[np.ndarray, "32 32 3"]:
  """Returns pixels that are stored as planes of red, green and blue."""
  planes = np.frombuffer(data, np.uint8).reshape(3, SIDE, SIDE)
  return np.ascontiguousarray(planes.transpose(1, 2, 0))


class _Unpickler(pickle.Unpickler):
  """Loads numpy arrays and plain values, and refuses everything else."""

  def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
    """Returns one of the four things that an array of numbers needs."""
    allowed = {
        ("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _encode}
    reconstruct = np.zeros(0).__reduce__()[0]
    for home in ("numpy.core.multiarray", "numpy._core.multiarray"):
      allowed[home, "_reconstruct"] = reconstruct
    if (module, name) not in allowed:
      raise pickle.UnpicklingError(
          f"it uses {module}.{name}, which arrays of numbers do not need; the "
          "file may be malicious")
    return allowed[module, name]


def _encode(text: str, encoding: str) -> bytes:
  """Returns the bytes that Python 2 stored as text."""
  return text.encode("latin1" if encoding == "latin1" else "utf-8")


def _unpickle(where: str, data: bytes) -> dict[str, Any]:
  """Returns the dictionary of a pickle, its keys as text."""
  try:
    values = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    return {_text(key): value for key, value in values.items()}
  except Exception as error:  # Damaged pickles raise anything.
    raise DataError(f"{where}: cannot be read: {error}; get it again from "
                    f"{PAGE}, or use the binary archive") from error


def _text(value: bytes | str) -> str:
  return value.decode() if isinstance(value, bytes) else value

"""MNIST and Fashion-MNIST from their IDX files.

Their files have the same names: of which set they are is told by the labels,
and they may lie in a folder of the set's name within --manual_dir.
"""

import os

from jaxtyping import UInt8
import numpy as np

from vit_jax.data.prepare import archives
from vit_jax.data.prepare.contents import Contents, Request, Rows
from vit_jax.data.sources import idx
from vit_jax.errors import DataError

SIDE = 28
_HEADER = 16  # bytes of a file of pictures before the first
_DIGITS = tuple("0123456789")
_FILES = {"train": "train", "test": "t10k"}
# Set -> (page, folder of a download).
_PLACES = {
    "mnist": ("http://yann.lecun.com/exdb/mnist",
              "https://storage.googleapis.com/cvdf-datasets/mnist"),
    "fashion_mnist": (
        "https://github.com/zalandoresearch/fashion-mnist",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"),
}


def mnist(request: Request) -> Contents:
  """Lists MNIST."""
  return _list("mnist", request)


def fashion_mnist(request: Request) -> Contents:
  """Lists Fashion-MNIST."""
  return _list("fashion_mnist", request)


def _list(name: str, request: Request) -> Contents:
  """Lists one of the two; keys are numbers, as TFDS has them."""
  page, base = _PLACES[name]
  paths: list[str] = []
  splits, labels = {}, {}
  for split, prefix in _FILES.items():
    files = idx.Files(*(
        _find(request, name, f"{prefix}-{kind}-ubyte", page, base)
        for kind in ("images-idx3", "labels-idx1")))
    labels[split] = idx.read_labels(files)
    images = idx.read_images(files, len(labels[split]))
    if images.shape[1:] != (SIDE, SIDE) or labels[split].max() >= len(_DIGITS):
      raise DataError(f"{files.images}: not the pictures of {name}, which are "
                      f"{SIDE}x{SIDE} with labels to 9; get them from {page}")
    rows = Rows()
    for i, label in enumerate(labels[split].tolist()):
      rows.add(str(i), label, len(paths), _HEADER + i * SIDE * SIDE,
               SIDE * SIDE, name=f"{split}_{i:05d}")
    splits[split] = rows.split()
    paths.append(archives.plain(files.images, request.scratch))
  if idx.is_fashion(labels) != (name == "fashion_mnist"):
    told = "" if name == "mnist" else "not "
    raise DataError(
        f"{request.manual_dir}: these are {told}the labels of Fashion-MNIST; "
        f"get {name} from {page}, and put it into a folder {name} there")
  return Contents(
      paths=tuple(paths), splits=splits, homepage=page, name_feature="id",
      class_names=_DIGITS if name == "mnist" else idx.FASHION,
      to_image=_grey, channels=1)


def _find(
    request: Request, name: str, stem: str, page: str, base: str
) -> str:
  """Returns the path of a file, zipped or not, in either folder.

  Raises:
    MissingArchive: it is missing.
  """
  for folder in (os.path.join(request.manual_dir, name), request.manual_dir):
    for file in (stem, f"{stem}.gz"):
      path = os.path.join(folder, file)
      if os.path.isfile(path):
        return path
  file = f"{name}/{stem}.gz"
  return archives.find(request, file, page, url=f"{base}/{stem}.gz")


def _grey(data: bytes) -> UInt8[np.ndarray, "28 28 1"]:
  """Returns the pixels of a picture."""
  return np.frombuffer(data, np.uint8).reshape(SIDE, SIDE, 1)

"""Pictures as people hand them in: paths, folders, bytes, files, arrays.

Whatever form a picture has, its pixels are the same: `Picture.decode` ends in
`vit_jax.data.decode`.
"""

from collections.abc import Iterable, Sequence
import contextlib
import dataclasses
import os
import pathlib
import threading
from typing import Any

from jaxtyping import Shaped, UInt8
import numpy as np
from PIL import Image

from vit_jax.data.decode import decode
from vit_jax.data.sources.tree import list_images
from vit_jax.errors import DataError

_EXPECTED = ("a path, a folder, the bytes of an image file, a file opened with "
             "mode 'rb', an image of Pillow, a uint8 array (h w c), or a list "
             "of these")
_SHARED = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture that has not been read yet.

  Attributes:
    name: its path, or "image 3" by its place in the list.
    content: a path, bytes, an open file, an image of Pillow or an array.
  """

  name: str
  content: Any

  def decode(self) -> UInt8[np.ndarray, "h w 3"]:
    """Reads the picture.

    Raises:
      DataError: it cannot be read, or is no picture; the message names it.
    """
    # One image of Pillow may stand in a list twice, and its decoder is not
    # safe with several threads.
    shared = isinstance(self.content, Image.Image) or hasattr(
        self.content, "read")
    try:
      with _SHARED if shared else contextlib.nullcontext():
        return decode(_read(self.content))
    except DataError as error:
      raise DataError(f"{self.name}: {error}") from None


def find_images(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
  """Returns the files named, and the images below the folders named, sorted.

  What counts as an image is decided as in training; see
  `vit_jax.data.sources.tree`.

  Raises:
    DataError: a folder without images.
  """
  files: list[str] = []
  for each in paths:
    path = os.fspath(each)
    files += list_images(path) if os.path.isdir(path) else [path]
  return files


def list_pictures(pictures: Any) -> list[Picture]:
  """Returns the pictures one by one, in order.

  Args:
    pictures: a picture or an iterable of them. A picture is a path, the bytes
      of an image file, a file opened in binary mode, an image of Pillow, or
      an array of uint8, (h w) or (h w c); a folder stands for all pictures in
      it and below, and an array (n h w c) for n pictures.

  Raises:
    DataError: something else, such as an array of floats; the message says
      what to give instead.
  """
  if not _is_one(pictures):
    if isinstance(pictures, dict) or not isinstance(pictures, Iterable):
      raise DataError(
          f"pictures are {_kind(pictures)}; expected {_EXPECTED}")
    pictures = list(pictures)
  else:
    pictures = [pictures]
  found: list[Picture] = []
  for item in pictures:
    found += _expand(item, len(found))
  return found


def _is_one(item: Any) -> bool:
  """Whether an argument is a single picture, folder or array."""
  return isinstance(
      item, str | os.PathLike | bytes | bytearray | memoryview | Image.Image
  ) or hasattr(item, "read") or hasattr(item, "__array__")


def _expand(item: Any, index: int) -> list[Picture]:
  """Returns the pictures of an entry of the list, the first numbered index."""
  name = f"image {index}"
  if isinstance(item, str | os.PathLike):
    path = os.path.expanduser(os.fspath(item))
    return [Picture(file, file) for file in find_images([path])]
  if isinstance(item, Image.Image) or hasattr(item, "read"):
    return [Picture(name, item)]
  if isinstance(item, bytes | bytearray | memoryview):
    return [Picture(name, bytes(item))]
  if not hasattr(item, "__array__"):
    nested = isinstance(item, Sequence)
    raise DataError(
        f"{name} is {_kind(item)}; expected {_EXPECTED}"
        + ("; of numbers, make an array: numpy.asarray(numbers, 'uint8')"
           if nested else ""))
  try:
    array = np.asarray(item)
  except Exception as error:  # Tensors on other devices refuse in many ways.
    raise DataError(
        f"{name} is {_kind(item)}, which numpy cannot read "
        f"({' '.join(str(error).split())[:200]}); give a numpy array") from None
  if array.dtype.kind in "UO" and array.ndim:  # Paths; a column of a table.
    return [picture for i, each in enumerate(array.tolist())
            for picture in _expand(each, index + i)]
  _check_array(array, name)
  if array.ndim < 4:
    return [Picture(name, array)]
  return [Picture(f"image {index + i}", each) for i, each in enumerate(array)]


def _check_array(array: Shaped[np.ndarray, "..."], name: str) -> None:
  """Raises DataError for an array that is no picture and no batch of them."""
  said = f"{name}: an array {array.dtype}{list(array.shape)}"
  if array.dtype not in (np.uint8, np.uint16):
    raise DataError(
        f"{said}; pixels are expected as uint8 from 0 to 255{_advice(array)}")
  if array.ndim not in (2, 3, 4):
    raise DataError(
        f"{said}; expected (h w), (h w c), or a batch (n h w c)")
  if array.ndim > 2 and array.shape[-1] > 4:
    first = array.shape[array.ndim - 3] <= 4
    raise DataError(
        f"{said}; expected the channels, 1 to 4, on the last axis"
        + ("; move them there with numpy.moveaxis(images, -3, -1)" if first
           else "; a batch of grey pictures is images[..., None]"))


def _advice(array: Shaped[np.ndarray, "..."]) -> str:
  """Says how the numbers of an array become uint8."""
  if array.dtype.kind not in "fiub" or not array.size:
    return ""
  low, high = float(array.min()), float(array.max())
  if array.dtype.kind in "iub":
    return ("; convert them with images.astype('uint8')"
            if 0 <= low and high <= 255 else f", found {low:g} to {high:g}")
  formula = "images"
  if low < 0:
    formula = "127.5 * images + 127.5"
  elif high <= 1:
    formula = "255 * images"
  hint = ("; what vit.preprocess returns goes to vit.model.apply"
          if array.ndim == 4 and -1 <= low < 0 and high <= 1 else "")
  return (f", found {low:g} to {high:g}; convert them with numpy.rint("
          f"{formula}).astype('uint8'){hint}")


def _kind(item: Any) -> str:
  """Returns "of type list", "None" or the like."""
  return "None" if item is None else f"of type {type(item).__name__}"


def _read(content: Any) -> bytes | np.ndarray | Image.Image:
  """Returns what `decode` takes."""
  if isinstance(content, str):
    try:
      return pathlib.Path(content).read_bytes()
    except OSError as error:
      raise DataError(f"cannot be read ({error.strerror}); "
                      f"{_better_path(content)}") from None
    except ValueError as error:  # A path with a zero byte.
      raise DataError(f"cannot be read ({error})") from None
  if hasattr(content, "read"):
    try:
      if content.seekable():  # It may have been read before.
        content.seek(0)
      data = content.read()
    except (AttributeError, OSError, ValueError) as error:  # Closed, say.
      raise DataError(f"{content!r} cannot be read ({error})") from None
    if not isinstance(data, bytes):
      raise DataError(
          f"{content!r} was opened as text; open images with mode 'rb'")
    return data
  return content


def _better_path(path: str) -> str:
  """Says what to give instead of a path that cannot be read."""
  if "://" in path:
    return "download it first, or give its bytes"
  return "give the path of an image"

"""From images in any form to a batch for the model: evaluation's pipeline."""

from collections.abc import Iterable
import dataclasses
import os
import pathlib
from typing import Any

from jaxtyping import Float
import numpy as np
from PIL import Image

from vit_jax.data.decode import decode
from vit_jax.data.transforms import make_transforms
from vit_jax.errors import DataError

DEFAULT = "resize({size})"


@dataclasses.dataclass(frozen=True)
class Preprocess:
  """A callable from images to a batch in [-1, 1].

  Attributes:
    text: the pipeline; {size} stands for the image size.
    image_size: (height, width) in pixels of the result.
  """

  text: str
  image_size: tuple[int, int]

  def __post_init__(self) -> None:
    make_transforms(self.text, self.image_size)  # Fail early.

  def __call__(self, images: Any) -> Float[np.ndarray, "b h w 3"]:
    """Decodes, resizes and scales images: (x - 127.5) / 127.5.

    Args:
      images: one image or a list of them, each a path, the bytes of a
        image file, a file opened in binary mode, an image of Pillow, or a
        uint8 array (h w), (h w c); or a batch (b h w c).

    Raises:
      DataError: an image cannot be read, or the result has another size.
    """
    transforms = make_transforms(self.text, self.image_size)
    # Evaluation pipelines draw no random numbers; the argument is required.
    rng = np.random.default_rng(0)
    batch = []
    for i, image in enumerate(_listed(images)):
      name, content = _content(image, i)
      try:
        pixels = np.asarray(transforms(decode(content), rng), np.float32)
      except DataError as error:
        raise DataError(f"{name}: {error}") from None
      if pixels.shape != (*self.image_size, 3):
        raise DataError(
            f"{name}: {self.text!r} gives shape {pixels.shape}, but the model "
            f"takes {(*self.image_size, 3)}; end the pipeline with a resize "
            "or crop to {size}")
      batch.append(pixels)
    if not batch:
      return np.zeros((0, *self.image_size, 3), np.float32)
    return (np.stack(batch) - 127.5) / 127.5


def _listed(images: Any) -> Iterable[Any]:
  """Returns an iterable of images for a single image, a batch or a list."""
  if isinstance(images, str | os.PathLike | bytes | Image.Image) or hasattr(
      images, "read"):
    return [images]
  if isinstance(images, np.ndarray) or hasattr(images, "__array__"):
    images = np.asarray(images)
    return [images] if images.ndim < 4 else images
  return images


def _content(
    image: Any, index: int
) -> tuple[str, bytes | np.ndarray | Image.Image]:
  """Returns an image's name for messages, and its bytes or pixels."""
  if isinstance(image, str | os.PathLike):
    try:
      return os.fspath(image), pathlib.Path(image).read_bytes()
    except OSError as error:
      raise DataError(
          f"{image}: cannot be read ({error.strerror}); give the path of an "
          "image") from None
  if isinstance(image, bytes | Image.Image):
    return f"image {index}", image
  if hasattr(image, "read"):
    content = image.read()
    if not isinstance(content, bytes):
      raise DataError(
          f"image {index}: {image!r} was opened as text; open images with "
          "mode 'rb'")
    return f"image {index}", content
  return f"image {index}", np.asarray(image)

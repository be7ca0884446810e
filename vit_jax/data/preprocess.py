"""From images in any form to a batch for the model: evaluation's pipeline."""

import dataclasses
import functools
from typing import Any

from jaxtyping import Float
import numpy as np

from vit_jax.data.pictures import Picture, list_pictures
from vit_jax.data.transforms import Transforms, make_transforms
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
    assert self._transforms is not None  # Made now, to fail early.

  @functools.cached_property
  def _transforms(self) -> Transforms:
    return make_transforms(self.text, self.image_size)

  def __call__(self, images: Any) -> Float[np.ndarray, "b h w 3"]:
    """Decodes, resizes and scales images: (x - 127.5) / 127.5.

    Args:
      images: one image or a list of them, each a path, the bytes of an image
        file, a file opened in binary mode, an image of Pillow, or a uint8
        array (h w), (h w c); a folder, for all images below; or a batch
        (b h w c). See `vit_jax.data.pictures.list_pictures`.

    Raises:
      DataError: an image cannot be read, or the result has another size.
    """
    batch = [self.one(picture) for picture in list_pictures(images)]
    if not batch:
      return np.zeros((0, *self.image_size, 3), np.float32)
    return np.stack(batch)

  def one(self, picture: Picture) -> Float[np.ndarray, "h w 3"]:
    """Returns one picture as the model sees it, in [-1, 1].

    Raises:
      DataError: it cannot be read, or the result has another size.
    """
    decoded = picture.decode()
    # Evaluation pipelines draw no random numbers; the argument is required.
    try:
      pixels = np.asarray(
          self._transforms(decoded, np.random.default_rng(0)), np.float32)
    except DataError as error:
      raise DataError(f"{picture.name}: {error}") from None
    if pixels.shape != (*self.image_size, 3):
      raise DataError(
          f"{picture.name}: {self.text!r} gives shape {pixels.shape}, but the "
          f"model takes {(*self.image_size, 3)}; end the pipeline with a "
          "resize or crop to {size}")
    return (pixels - 127.5) / 127.5

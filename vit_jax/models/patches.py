"""The patch embedding E of equation 1: images in, one vector per patch out."""

from typing import Any

from absl import logging
from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.errors import UsageError


class PatchEmbedding(nn.Module):
  """Cuts images into patches and multiplies each patch by E.

  Numbers and parameters, kernel (p q c d) and bias (d,), are those of a
  convolution whose stride is its kernel's size. One matrix product over
  flattened patches saves the TPU the change of layout that a convolution of
  three-channel images needs.

  Attributes:
    features: D.
    patch_size: height and width of a patch.
    dtype: compute dtype.
  """

  features: int
  patch_size: tuple[int, int]
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b n d"]:
    """Returns the patches in raster order; incomplete ones are cut off.

    Raises:
      UsageError: the images are smaller than a patch.
    """
    height, width = self.patch_size
    batch, *sides, channels = x.shape
    rows, cols = sides[0] // height, sides[1] // width
    check_sides(sides, self.patch_size)
    kernel = self.param(
        "kernel", nn.initializers.lecun_normal(),
        (height, width, channels, self.features), jnp.float32)
    bias = self.param(
        "bias", nn.initializers.zeros, (self.features,), jnp.float32)
    x = x[:, :rows * height, :cols * width].astype(self.dtype)
    x = x.reshape(batch, rows, height, cols, width, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * cols, -1)
    kernel = kernel.astype(self.dtype).reshape(-1, self.features)
    return x @ kernel + bias.astype(self.dtype)[None, None]


def check_sides(sides: list[int], patch_size: tuple[int, int]) -> None:
  """Warns of pixels outside of whole patches.

  Raises:
    UsageError: there is no whole patch.
  """
  if any(side < patch for side, patch in zip(sides, patch_size, strict=True)):
    raise UsageError(
        f"images of {sides[0]}x{sides[1]} hold no patch of "
        f"{patch_size[0]}x{patch_size[1]}; use larger images or smaller "
        "patches")
  rest = [s % p for s, p in zip(sides, patch_size, strict=True)]
  if any(rest):
    logging.warning(
        "images of %dx%d are not whole patches of %dx%d: the last %d rows and "
        "%d columns are not seen", *sides, *patch_size, *rest)

"""Images as the networks take them: floats in [-1, 1]."""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from vit_jax.errors import UsageError


def normalize(
    images: Num[Array, "b h w c"], dtype: Any
) -> Float[Array, "b h w c"]:
  """Maps values 0..255 to [-1, 1]: (x - 127.5) / 127.5, in `dtype`."""
  # In float32 first: bfloat16 has 8 bits, and 254.5 is not among its values.
  scaled = (images.astype(jnp.float32) - 127.5) / 127.5
  return scaled.astype(dtype)


def to_floats(
    images: Num[Array, "b h w c"], dtype: Any
) -> Float[Array, "b h w c"]:
  """Returns images in `dtype`: uint8 is normalised, floats only converted.

  Raises:
    UsageError: no batch, or other integers, whose range is unknown.
  """
  if not hasattr(images, "ndim"):
    raise UsageError(f"images are of type {type(images).__name__}; expected "
                     "an array (b h w c), as vit.preprocess returns it")
  if images.ndim != 4 or images.shape[0] == 0:
    raise UsageError(
        f"images are an array of shape {tuple(images.shape)}; expected a batch "
        "(b h w c) of one image or more, such as images[None] of one image")
  if images.dtype == jnp.uint8:
    return normalize(images, dtype)
  if not jnp.issubdtype(images.dtype, jnp.floating):
    raise UsageError(
        f"images are {images.dtype}; expected uint8 in 0..255 or floats "
        "in [-1, 1]")
  return jax.lax.convert_element_type(images, dtype)


def check_channels(
    module: nn.Module, layer: str, images: Num[Array, "b h w c"]
) -> None:
  """Raises UsageError for images with other channels than the parameters.

  Args:
    module: the network, in its compact scope.
    layer: path of the submodule that the images go to, with a kernel (h w c d).
    images: of any size.
  """
  first, *inner = f"{layer}/kernel".split("/")
  kernel: Any = module.get_variable("params", first)
  for name in inner:
    kernel = None if kernel is None else kernel.get(name)
  channels = images.shape[-1]
  if kernel is not None and kernel.shape[2] != channels:
    raise UsageError(
        f"images have {channels} numbers per pixel, on the last axis; this "
        f"model was made for {kernel.shape[2]}, such as vit.preprocess returns")

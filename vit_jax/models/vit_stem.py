"""From images to embedded patches: a hybrid's ResNet, and the projection."""

from collections.abc import Sequence
from typing import Any

import jax

from vit_jax.models import patches, resnet_stem
from vit_jax.models.inputs import check_channels, to_floats


def grid(model: Any, image_size: Sequence[int]) -> tuple[int, int]:
  """Returns rows and columns of patches for an image (height, width).

  Args:
    model: a VisionTransformer.
    image_size: in pixels.
  """
  sides = [
      side if model.resnet is None
      else resnet_stem.stem_grid(side, model.resnet)
      for side in image_size]
  return (sides[0] // model.patch_size[0], sides[1] // model.patch_size[1])


def embed(model: Any, images: jax.Array) -> jax.Array:
  """Cuts into patches and projects them: (b h w c) to (b n d).

  To be called inside the model, a VisionTransformer, whose parameters it makes.
  """
  x = to_floats(images, model.dtype)
  check_channels(
      model, "embedding" if model.resnet is None else "conv_root", x)
  if model.resnet is not None:
    x = resnet_stem.resnet_stem(
        x, model.resnet, width=model.resnet_width, eps=model.stem_eps,
        dtype=model.dtype)
  return patches.PatchEmbedding(
      model.width, model.patch_size, dtype=model.dtype, name="embedding")(x)

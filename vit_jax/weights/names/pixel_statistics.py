"""Puts the normalisation of the pixels into the patch embedding."""

from collections.abc import Mapping, Sequence

from absl import logging
import numpy as np

from vit_jax.errors import CheckpointError


def absorb_pixel_statistics(
    flat: Mapping[str, np.ndarray],
    mean: Sequence[float],
    std: Sequence[float],
    source: str = "weights",
) -> dict[str, np.ndarray]:
  """Returns parameters for pixels in [-1, 1] instead of (p - mean) / std.

  The patch embedding is linear in the pixels: its kernel and bias absorb both,
  exactly except for rounding.

  Args:
    flat: parameters under the model's names.
    mean, std: of pixels p in 0..1, one for each channel.
    source: the file's name, for messages.

  Raises:
    CheckpointError: a hybrid, whose standardised convolutions are not linear
      in this sense, or a patch embedding without three channels.
  """
  if set(mean) == {0.5} == set(std):
    return dict(flat)
  kernel = flat.get("embedding/kernel")
  if ("conv_root/kernel" in flat or kernel is None or kernel.ndim != 4
      or kernel.shape[2] != len(mean)):
    raise CheckpointError(
        f"{source}: its pixels have mean {tuple(mean)} and deviation "
        f"{tuple(std)}; this package's models take pixels in [-1, 1], and only "
        "the weights of a plain ViT can be converted to those")
  logging.warning(
      "%s: mean %s and deviation %s of its pixels were folded into the patch "
      "embedding, for pixels in [-1, 1]", source, tuple(mean), tuple(std))
  kernel = kernel.astype(np.float64)
  means, stds = (np.asarray(x)[:, None] for x in (mean, std))
  bias = flat.get("embedding/bias", np.zeros(kernel.shape[-1]))
  shift = (kernel * ((0.5 - means) / stds)).sum((0, 1, 2))
  return dict(flat) | {
      "embedding/kernel": (kernel * (0.5 / stds)).astype(np.float32),
      "embedding/bias": (bias + shift).astype(np.float32)}

"""What a model costs: training FLOPs, exaFLOPs of a run, MFU.

By formula (`Network.macs`), from the architecture alone: XLA counts the body
of a scanned loop once, and nothing at all of a fused kernel. One multiply-add
is two FLOPs.
"""

from collections.abc import Sequence

from vit_jax.devices.chips import peak_flops
from vit_jax.models.network import Network

# Forward and backward pass are three forward passes; two FLOPs a multiply-add.
TRAIN_FLOPS_PER_MAC = 6


def train_flops(model: Network, image_size: Sequence[int]) -> int:
  """Returns the FLOPs of one training step per image: 6 per multiply-add.

  What rematerialisation computes again is not counted: MFU is about useful
  work.
  """
  return TRAIN_FLOPS_PER_MAC * model.macs(image_size)


def exaflops(macs: float, images: float, epochs: float) -> float:
  """Returns the cost of a training run in exaFLOPs (paper, Table 6).

  Args:
    macs: multiply-adds of one forward pass.
    images: size of the data set; 303e6 for JFT-300M.
    epochs: passes over it.
  """
  return TRAIN_FLOPS_PER_MAC * macs * images * epochs / 1e18


def mfu(
    images_per_second_per_device: float,
    flops_per_image: float,
    device_kind: str,
) -> float | None:
  """Returns the share of the device's peak that useful work takes.

  Args:
    images_per_second_per_device: measured; a device is what JAX calls one.
    flops_per_image: see `train_flops`.
    device_kind: as in `jax.devices()[0].device_kind`.

  Returns:
    Model FLOPs utilisation in [0, 1], None where the peak is unknown (CPU).
  """
  peak = peak_flops(device_kind)
  if peak is None:
    return None
  return images_per_second_per_device * flops_per_image / peak

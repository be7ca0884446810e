"""What a model costs: multiply-adds, training FLOPs, parameters, MFU.

By formula, from the architecture alone: XLA counts the body of a scanned loop
once, and nothing at all of a fused kernel. Only convolutions and matrix
products count, as in the paper's figures; one multiply-add is two FLOPs.
"""

from collections.abc import Sequence

from vit_jax.devices.chips import peak_flops
from vit_jax.models import resnet_cost
from vit_jax.models.bit_resnet import BiTResNet
from vit_jax.models.vit import VisionTransformer

# Forward and backward pass are three forward passes; two FLOPs a multiply-add.
TRAIN_FLOPS_PER_MAC = 6
CHANNELS = 3


def forward_macs(
    model: VisionTransformer | BiTResNet,
    image_size: Sequence[int],
    channels: int = CHANNELS,
) -> int:
  """Returns the multiply-adds of one forward pass over one picture.

  g_h g_w P_h P_w C D + L (4 N D^2 + 2 N^2 D + 2 N D M) + D K, and the stem's
  convolutions for a hybrid. Relative positions add L N (2 N - 1) D; an axial
  block is two blocks, in which N^2 becomes the sum over rows, then over
  columns. A ResNet is its convolutions and its head. (The paper's exaFLOPs
  follow from these: Table 6.)

  Args:
    model: the network.
    image_size: (height, width) in pixels.
    channels: of the picture.
  """
  if isinstance(model, BiTResNet):
    return resnet_cost.baseline(model, image_size, channels)[0]
  d, m = model.width, model.mlp_dim
  rows, cols = model.grid(image_size)
  n = _tokens(model, image_size)
  inputs = channels
  total = 0
  if model.resnet is not None:
    total, _, inputs = resnet_cost.stem(
        model.resnet, model.resnet_width, image_size, channels)
  patch = model.patch_size[0] * model.patch_size[1]
  total += rows * cols * patch * inputs * d
  for length in _sequences(model, image_size):
    seen = 2 * length + (2 * length - 1) * (model.posemb == "relative")
    total += model.depth * n * (4 * d * d + seen * d + 2 * d * m)
  if model.pooling == "map":
    # One query: its projections and MLP act on one token, key and value on n.
    total += 2 * d * d + 2 * n * d * d + 2 * n * d + 2 * d * m
  total += d * model.pre_logits
  return total + (model.pre_logits or d) * model.num_classes


def parameter_count(
    model: VisionTransformer | BiTResNet,
    image_size: Sequence[int],
    channels: int = CHANNELS,
) -> int:
  """Returns the number of parameters, by formula.

  Args:
    model: the network.
    image_size: (height, width) in pixels; decides the position embedding.
    channels: of the picture.
  """
  if isinstance(model, BiTResNet):
    return resnet_cost.baseline(model, image_size, channels)[1]
  d, m = model.width, model.mlp_dim
  inputs, total = channels, 0
  if model.resnet is not None:
    _, total, inputs = resnet_cost.stem(
        model.resnet, model.resnet_width, image_size, channels)
  patch = model.patch_size[0] * model.patch_size[1]
  total += patch * inputs * d + d
  total += d if model.pooling == "cls" else 0
  total += _position_parameters(model, image_size)
  mlp = 2 * d * m + m + d
  qkv = 3 * (d * d + (d if model.qkv_bias else 0))
  steps = model.depth * len(_sequences(model, image_size))
  total += steps * (4 * d + qkv + d * d + d + mlp) + 2 * d
  if model.pooling == "map":
    total += d + 4 * (d * d + d) + 2 * d + mlp
  if model.pre_logits:
    total += (d + 1) * model.pre_logits
  return total + ((model.pre_logits or d) + 1) * model.num_classes


def train_flops(
    model: VisionTransformer | BiTResNet, image_size: Sequence[int]
) -> int:
  """Returns the FLOPs of one training step per picture: 6 a multiply-add.

  What rematerialisation computes again is not counted: MFU is about useful
  work.
  """
  return TRAIN_FLOPS_PER_MAC * forward_macs(model, image_size)


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


def _tokens(model: VisionTransformer, image_size: Sequence[int]) -> int:
  """Returns the length of the sequence, the class token included."""
  rows, cols = model.grid(image_size)
  return rows * cols + (model.pooling == "cls")


def _sequences(
    model: VisionTransformer, image_size: Sequence[int]
) -> tuple[int, ...]:
  """Returns how many tokens each attention of a block goes over."""
  if model.block == "axial":
    rows, cols = model.grid(image_size)
    return (cols, rows)
  return (_tokens(model, image_size),)


def _position_parameters(
    model: VisionTransformer, image_size: Sequence[int]
) -> int:
  """Returns what the position embedding adds (Table 8; posemb.py)."""
  if model.posemb == "relative":
    offsets = sum(2 * n - 1 for n in _sequences(model, image_size))
    return model.depth * offsets * model.width
  table = {"1d": _tokens(model, image_size) * model.width,
           "2d": sum(model.grid(image_size)) * (model.width // 2)}
  copies = model.depth if model.posemb_at == "layers" else 1
  return copies * table.get(model.posemb, 0)

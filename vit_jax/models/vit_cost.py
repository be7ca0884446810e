"""Multiply-adds of a Vision Transformer or hybrid, by formula."""

from collections.abc import Sequence
from typing import Protocol

from vit_jax.models import resnet_cost


class Sizes(Protocol):
  """What the formula depends on; attributes of VisionTransformer."""

  num_classes: int
  patch_size: tuple[int, int]
  width: int
  depth: int
  mlp_dim: int
  num_heads: int
  head_dim: int | None
  resnet: tuple[int, ...] | None
  resnet_width: float
  pooling: str
  distilled: bool
  gated: bool
  pre_logits: int
  posemb: str
  block: str

  @property
  def prefix_tokens(self) -> int:
    """Number of tokens before the patches."""
    ...

  def grid(self, image_size: Sequence[int]) -> tuple[int, int]:
    """Returns rows and columns of patches."""
    ...


def macs(model: Sizes, image_size: Sequence[int], channels: int) -> int:
  """Returns the multiply-adds of one forward pass over one image.

  g_h g_w P_h P_w C D + L (4 N D^2 + 2 N^2 D + 2 N D M) + D K, and the stem's
  convolutions for a hybrid. Relative positions add L N (2 N - 1) D; an axial
  block is two blocks, in which N^2 becomes the sum over rows, then over
  columns. A gated MLP adds L N D M. With heads of a width of their own, k D_h
  stands for one D of 4 D^2, and for D in the products. (The paper's exaFLOPs
  follow from these: Table 6.)

  Args:
    model: the network.
    image_size: (height, width) in pixels.
    channels: of the image.
  """
  d, m = model.width, model.mlp_dim
  inner = model.num_heads * model.head_dim if model.head_dim else d
  rows, cols = model.grid(image_size)
  n = rows * cols + model.prefix_tokens
  total, inputs = 0, channels
  if model.resnet is not None:
    total, inputs = resnet_cost.stem(
        model.resnet, model.resnet_width, image_size, channels)
  patch = model.patch_size[0] * model.patch_size[1]
  total += rows * cols * patch * inputs * d
  # Tokens that one token attends to, in each attention of a block.
  for length in (cols, rows) if model.block == "axial" else (n,):
    products = 2 * length
    if model.posemb == "relative":
      products += 2 * length - 1
    mlp = (2 + model.gated) * d * m
    total += model.depth * n * (4 * d * inner + products * inner + mlp)
  if model.pooling == "map":
    # One query: its projections and MLP act on one token, key and value on the
    # patches.
    total += 2 * (d * d + rows * cols * (d * d + d) + d * m)
  pooled = 2 * d if model.pooling == "cls_gap" else d
  total += pooled * model.pre_logits + model.distilled * d * model.num_classes
  return total + (model.pre_logits or pooled) * model.num_classes

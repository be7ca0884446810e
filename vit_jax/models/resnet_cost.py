"""Multiply-adds of ResNets, by formula: the hybrids' stem and the baselines.

The 3x3 convolution of a unit carries the stride, so the 1x1 before it sees the
larger sides.
"""

from collections.abc import Iterator, Sequence

from vit_jax.models.resnet_stem import ROOT_FEATURES, root_features


def stem(
    units: Sequence[int], width: float, image_size: Sequence[int],
    channels: int,
) -> tuple[int, int]:
  """Returns (multiply-adds, channels out) of a hybrid's stem."""
  macs, outs = zip(*_stages(
      units, root_features(width), image_size, channels), strict=True)
  return sum(macs), outs[-1]


def baseline(
    units: Sequence[int], width_factor: int, num_classes: int,
    image_size: Sequence[int], channels: int,
) -> int:
  """Returns the multiply-adds of a baseline, its head included."""
  macs, outs = zip(*_stages(
      units, ROOT_FEATURES * width_factor, image_size, channels), strict=True)
  return sum(macs) + outs[-1] * num_classes


def _stages(
    units: Sequence[int], features: int, image_size: Sequence[int],
    channels: int,
) -> Iterator[tuple[int, int]]:
  """Yields (multiply-adds, channels out) of the root and of every unit.

  Args:
    units: of each stage.
    features: channels of the root.
    image_size: (height, width) in pixels.
    channels: of the image.
  """
  sides = _halve(image_size)
  yield 7 * 7 * channels * features * sides[0] * sides[1], features
  sides, inputs = _halve(sides), features
  for stage, count in enumerate(units):
    f = features * 2**stage
    for unit in range(count):
      out = _halve(sides) if stage and not unit else sides
      after_stride = 9 * f * f + 4 * f * f
      if inputs != 4 * f or out != sides:
        after_stride += inputs * 4 * f  # the projection
      yield (sides[0] * sides[1] * inputs * f
             + out[0] * out[1] * after_stride), 4 * f
      sides, inputs = out, 4 * f


def _halve(sides: Sequence[int]) -> list[int]:
  """Returns the sides after a stride of 2, rounded up."""
  return [-(-side // 2) for side in sides]

"""Multiply-adds and parameters of ResNets: the hybrids' stem, the baselines.

By formula. The 3x3 convolution of a unit carries the stride, so the 1x1 before
it sees the larger sides.
"""

from collections.abc import Iterator, Sequence

from vit_jax.models import resnet_stem
from vit_jax.models.bit_resnet import BiTResNet


def halve(sides: Sequence[int]) -> list[int]:
  """Returns what a stride of 2 leaves, rounding up."""
  return [-(-side // 2) for side in sides]


def stages(
    units: Sequence[int], features: int, image_size: Sequence[int],
    channels: int, *, preactivated: bool,
) -> Iterator[tuple[int, int, int]]:
  """Yields (multiply-adds, parameters, channels out) of root and units.

  Args:
    units: of each stage.
    features: channels of the root.
    image_size: (height, width) in pixels.
    channels: of the picture.
    preactivated: the baselines, whose norms come before the convolutions and
      see what these do, and are none in root and projection; else the stem.
  """
  sides = halve(image_size)
  root = 7 * 7 * channels * features
  norm = 0 if preactivated else 2 * features
  yield root * sides[0] * sides[1], root + norm, features
  sides, inputs = halve(sides), features
  for stage, count in enumerate(units):
    f = features * 2**stage
    for unit in range(count):
      out = halve(sides) if stage and not unit else sides
      late = 9 * f * f + 4 * f * f
      norms = (2 * inputs if preactivated else 8 * f) + 4 * f
      if inputs != 4 * f or out != sides:
        late += inputs * 4 * f
        norms += 0 if preactivated else 8 * f
      macs = sides[0] * sides[1] * inputs * f + out[0] * out[1] * late
      yield macs, inputs * f + late + norms, 4 * f
      sides, inputs = out, 4 * f


def stem(
    units: Sequence[int], width: float, image_size: Sequence[int],
    channels: int,
) -> tuple[int, int, int]:
  """Returns (multiply-adds, parameters, channels out) of a hybrid's stem."""
  macs, parameters, outs = zip(*stages(
      units, resnet_stem.root_features(width), image_size, channels,
      preactivated=False), strict=True)
  return sum(macs), sum(parameters), outs[-1]


def baseline(
    model: BiTResNet, image_size: Sequence[int], channels: int
) -> tuple[int, int]:
  """Returns (multiply-adds, parameters) of a baseline, its head included."""
  macs, parameters, outs = zip(*stages(
      model.units, resnet_stem.ROOT_FEATURES * model.width_factor, image_size,
      channels, preactivated=True), strict=True)
  width, classes = outs[-1], model.num_classes
  return (sum(macs) + width * classes,
          sum(parameters) + 2 * width + (width + 1) * classes)

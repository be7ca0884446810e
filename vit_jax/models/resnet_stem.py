"""The ResNet stem of the hybrids (paper, section 3.1; appendix B.1.1).

Post-activation bottleneck units with weight-standardised convolutions,
GroupNorm and SAME padding: the form in which the hybrids were released. A
function creates the modules, so that their parameters lie at the top of the
model's tree, under the released names.
"""

from collections.abc import Sequence
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.errors import UsageError

# Channels of the root at width 1, and groups of every GroupNorm; the ResNet
# baselines have the same.
ROOT_FEATURES = 64
GROUPS = 32
# Name: (added to the standard deviation of a kernel, added to its variance,
# added to the variance in GroupNorm). "released" is the official code's, for
# the released files; timm's stem differs.
STEM_EPS = {"released": (1e-5, 0.0, 1e-6), "timm": (0.0, 1e-8, 1e-5)}


class StdConv(nn.Module):
  """A convolution without bias whose kernel is standardised when used.

  w <- (w - mean) / (std + 1e-5) over height, width and input channels, in
  float32; with `eps="timm"` the epsilon is added to the variance instead (see
  STEM_EPS).
  """

  features: int
  kernel_size: tuple[int, int]
  strides: tuple[int, int] = (1, 1)
  eps: str = "released"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b y x d"]:
    """Returns the convolution with SAME padding."""
    kernel = self.param(
        "kernel", nn.initializers.lecun_normal(),
        (*self.kernel_size, x.shape[-1], self.features), jnp.float32)
    axes = (0, 1, 2)
    centred = kernel - jnp.mean(kernel, axis=axes, keepdims=True)
    to_deviation, to_variance, _ = STEM_EPS[self.eps]
    deviation = to_deviation + jnp.sqrt(
        jnp.mean(jnp.square(centred), axis=axes, keepdims=True) + to_variance)
    return jax.lax.conv_general_dilated(
        x.astype(self.dtype), (centred / deviation).astype(self.dtype),
        window_strides=self.strides, padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"))


class BottleneckUnit(nn.Module):
  """1x1, 3x3 (which carries the stride), 1x1 with a residual connection."""

  features: int
  strides: tuple[int, int] = (1, 1)
  eps: str = "released"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b y x d"]:
    """Returns 4 * features channels."""
    out = self.features * 4

    def norm(name: str, scale: float = 1.0) -> nn.GroupNorm:
      return nn.GroupNorm(
          num_groups=GROUPS, epsilon=STEM_EPS[self.eps][2], dtype=self.dtype,
          name=name, scale_init=nn.initializers.constant(scale))

    def conv(name: str, features: int, size: int, **kwargs: Any) -> StdConv:
      return StdConv(
          features, (size, size), eps=self.eps, dtype=self.dtype, name=name,
          **kwargs)

    residual = x
    if x.shape[-1] != out or self.strides != (1, 1):
      residual = conv("conv_proj", out, 1, strides=self.strides)(x)
      residual = norm("gn_proj")(residual)
    y = nn.relu(norm("gn1")(conv("conv1", self.features, 1)(x)))
    y = conv("conv2", self.features, 3, strides=self.strides)(y)
    y = nn.relu(norm("gn2")(y))
    # gn3 starts at zero, so that a fresh unit is the identity.
    y = norm("gn3", scale=0.0)(conv("conv3", out, 1)(y))
    return nn.relu(residual + y)


class Stage(nn.Module):
  """Bottleneck units in sequence; the first one carries the stride."""

  units: int
  features: int
  strides: tuple[int, int]
  eps: str = "released"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b y x d"]:
    """Returns 4 * features channels at 1 / stride of the resolution."""
    for i in range(self.units):
      x = BottleneckUnit(
          self.features, self.strides if i == 0 else (1, 1), self.eps,
          self.dtype, name=f"unit{i + 1}")(x)
    return x


def resnet_stem(
    x: Float[Array, "b h w c"],
    units: Sequence[int],
    *,
    width: float = 1.0,
    eps: str = "released",
    dtype: Any = jnp.float32,
) -> Float[Array, "b y x d"]:
  """Applies root and stages inside the calling module's compact scope.

  Args:
    x: images.
    units: number of bottleneck units of each stage; () is the root alone.
    width: 1.0 has 64 channels in the root.
    eps: one of STEM_EPS.
    dtype: compute dtype.

  Returns:
    Features at stride 4 * 2 ** (len(units) - 1), at least 4.
  """
  features = root_features(width)
  x = StdConv(features, (7, 7), (2, 2), eps, dtype, name="conv_root")(x)
  x = nn.GroupNorm(
      num_groups=GROUPS, epsilon=STEM_EPS[eps][2], dtype=dtype,
      name="gn_root")(x)
  x = nn.max_pool(nn.relu(x), (3, 3), strides=(2, 2), padding="SAME")
  for i, count in enumerate(units):
    x = Stage(
        count, features * 2**i, (1, 1) if i == 0 else (2, 2), eps, dtype,
        name=f"block{i + 1}")(x)
  return x


def root_features(width: float) -> int:
  """Returns the channels of the root.

  Raises:
    UsageError: GroupNorm's groups do not divide them.
  """
  features = int(ROOT_FEATURES * width)
  if features < GROUPS or features % GROUPS:
    raise UsageError(
        f"model.resnet_width={width} gives {features} channels, which "
        f"{GROUPS} groups do not divide; use a multiple of "
        f"{GROUPS / ROOT_FEATURES}")
  return features


def stem_grid(size: int, units: Sequence[int]) -> int:
  """Returns the output length of the stem along an image side of `size`."""
  for _ in range(2 + max(0, len(units) - 1)):
    size = -(-size // 2)  # SAME padding rounds up at each halving.
  return size

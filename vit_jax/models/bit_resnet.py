"""The paper's ResNet baselines, "ResNet (BiT)" (section 4.1; Kolesnikov et al.,
"Big Transfer", arXiv 1912.11370).

Pre-activation bottleneck units with weight-standardised convolutions and
GroupNorm; the 3x3 convolutions carry the stride, and padding is half a kernel
on every side whatever the stride. Parameters have the names of the released
BiT files, except for the head, which is a dense layer as in the other networks.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from vit_jax.config.sections import ModelConfig
from vit_jax.devices.partition import split_batch
from vit_jax.models import checks, names, remat, resnet_cost
from vit_jax.models.inputs import check_channels, to_floats
from vit_jax.models.network import CHANNELS
from vit_jax.models.remat import rematerialised
from vit_jax.models.resnet_stem import GROUPS, ROOT_FEATURES

# Added to the variance of a kernel, and of the features in GroupNorm.
KERNEL_EPS, NORM_EPS = 1e-10, 1e-5


class StandardizedConv(nn.Module):
  """A convolution without bias whose kernel is standardised when used.

  w <- (w - mean) / sqrt(variance + 1e-10) over height, width and input
  channels, in float32.
  """

  features: int
  size: int
  stride: int = 1
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b y x d"]:
    """Returns the convolution of x padded by half a kernel on every side."""
    kernel = self.param(
        "kernel", nn.initializers.lecun_normal(),
        (self.size, self.size, x.shape[-1], self.features), jnp.float32)
    axes = (0, 1, 2)
    kernel = kernel.astype(jnp.float32)  # An exported model holds halves.
    kernel = kernel - jnp.mean(kernel, axis=axes, keepdims=True)
    kernel = kernel * jax.lax.rsqrt(
        jnp.mean(jnp.square(kernel), axis=axes, keepdims=True) + KERNEL_EPS)
    pad = (self.size // 2,) * 2
    return jax.lax.conv_general_dilated(
        x.astype(self.dtype), kernel.astype(self.dtype),
        window_strides=(self.stride,) * 2, padding=(pad, pad),
        dimension_numbers=("NHWC", "HWIO", "NHWC"))


class GroupNormRelu(nn.Module):
  """GroupNorm of 32 groups, then ReLU; statistics in float32."""

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Returns an array of the same shape."""
    channels = x.shape[-1]
    gamma = self.param("gamma", nn.initializers.ones, (channels,), jnp.float32)
    beta = self.param("beta", nn.initializers.zeros, (channels,), jnp.float32)
    shape = (*x.shape[:-1], GROUPS, channels // GROUPS)
    grouped = x.astype(jnp.float32).reshape(shape)
    mean = jnp.mean(grouped, axis=(1, 2, 4), keepdims=True)
    variance = jnp.mean(
        jnp.square(grouped - mean), axis=(1, 2, 4), keepdims=True)
    y = (grouped - mean) * jax.lax.rsqrt(variance + NORM_EPS)
    gamma, beta = gamma.reshape(1, 1, 1, -1), beta.reshape(1, 1, 1, -1)
    return nn.relu(y.reshape(x.shape) * gamma + beta).astype(self.dtype)


class _NestedConv(nn.Module):
  """A convolution whose parameters lie one level deeper: root, projections."""

  features: int
  size: int
  stride: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    return StandardizedConv(
        self.features, self.size, self.stride, self.dtype,
        name="standardized_conv2d")(x)


class NormConv(nn.Module):
  """One third of a unit: GroupNorm, ReLU and a convolution.

  `projection` is the number of channels of the unit's residual path where that
  is projected, 0 elsewhere; the projection sees what the convolution sees.
  """

  features: int
  size: int
  stride: int = 1
  projection: int = 0
  projection_stride: int = 1
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
      self, x: Float[Array, "b h w c"]
  ) -> tuple[jax.Array, jax.Array]:
    """Returns the convolution, and the residual path."""
    y = GroupNormRelu(self.dtype, name="group_norm")(x)
    residual = x
    if self.projection:
      residual = _NestedConv(self.projection, 1, self.projection_stride,
                        self.dtype, name="proj")(y)
    return StandardizedConv(
        self.features, self.size, self.stride, self.dtype,
        name="standardized_conv2d")(y), residual


class Unit(nn.Module):
  """A pre-activation bottleneck unit: 1x1, 3x3 with the stride, 1x1."""

  features: int
  stride: int = 1
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b y x d"]:
    """Returns 4 * features channels."""
    out = 4 * self.features
    projected = self.stride != 1 or x.shape[-1] != out
    y, residual = NormConv(
        self.features, 1, projection=out if projected else 0,
        projection_stride=self.stride, dtype=self.dtype, name="a")(x)
    y, _ = NormConv(self.features, 3, self.stride, dtype=self.dtype,
                    name="b")(y)
    y, _ = NormConv(out, 1, dtype=self.dtype, name="c")(y)
    return split_batch(residual + y)


def _keep_convolutions(primitive: Any, *_: Any, **__: Any) -> bool:
  """A remat policy: keeps the outputs of convolutions; norms are cheap."""
  return primitive is jax.lax.conv_general_dilated_p


class _Stage(nn.Module):
  """Units of one resolution; the first one carries the stride."""

  units: int
  features: int
  stride: int
  dtype: Any
  remat: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    unit = rematerialised(Unit, self.remat, products=_keep_convolutions)
    for i in range(self.units):
      x = unit(self.features, self.stride if i == 0 else 1, self.dtype,
               name=f"unit{i + 1:02d}")(x)
    return x


class BiTResNet(nn.Module):
  """ResNet-v2 as in Big Transfer: images in, `(logits, aux)` out.

  Attributes:
    num_classes: width of the head; 0 leaves the head out and returns features.
    units: bottleneck units of each stage.
    width_factor: 1 has 64 channels in the root.
    head_bias_init: start value of the head's bias.
    dtype: compute dtype; parameters, logits and statistics are float32.
    remat: "none", or rematerialisation of a unit: "dots" keeps what the
      convolutions return, "full" nothing.
  """

  options: ClassVar[tuple[str, ...]] = ("head_bias_init", "dtype", "remat")
  has_attention: ClassVar[bool] = False
  grid_unit: ClassVar[str] = "features"
  # Units differ in their shapes: there is no one block to loop over.
  scan: ClassVar[bool] = False

  num_classes: int
  units: tuple[int, ...]
  width_factor: int = 1
  head_bias_init: float = ModelConfig.head_bias_init
  dtype: Any = jnp.float32
  remat: str = ModelConfig.remat

  def __post_init__(self) -> None:
    checks.check_sizes({"width_factor": self.width_factor} | {
        f"units[{i}]": count for i, count in enumerate(self.units)})
    checks.check_choice("remat", self.remat, remat.POLICIES)
    super().__post_init__()

  @classmethod
  def from_name(
      cls, name: names.ResNetName, *, num_classes: int, **options: Any
  ) -> Self:
    """See `Network.from_name`."""
    return cls(num_classes, **name.sizes, **options)

  @classmethod
  def architecture_keys(cls) -> tuple[str, ...]:
    """See `Network.architecture_keys`."""
    return ("units", "width_factor", "num_classes")

  def architecture(self) -> dict[str, Any]:
    """See `Network.architecture`."""
    return {key: getattr(self, key) for key in self.architecture_keys()}

  @property
  def variant_name(self) -> str:
    """See `Network.variant_name`."""
    return names.resnet_name(self.units, self.width_factor)

  def summary(self) -> list[tuple[str, str]]:
    """See `Network.summary`."""
    units = ", ".join(map(str, self.units))
    return [("model", f"{self.variant_name}: ResNet of {units} units, width "
             f"factor {self.width_factor}")]

  def grid(self, image_size: Sequence[int]) -> tuple[int, int]:
    """Returns rows and columns of the last features, for (height, width)."""
    rows, cols = image_size
    for _ in range(1 + len(self.units)):
      rows, cols = -(-rows // 2), -(-cols // 2)
    return rows, cols

  def macs(self, image_size: Sequence[int], channels: int = CHANNELS) -> int:
    """See `Network.macs`."""
    return resnet_cost.baseline(
        self.units, self.width_factor, self.num_classes, image_size, channels)

  def one_block(self) -> tuple[Self, int]:
    """See `Network.one_block`."""
    return self, 1

  @nn.compact
  def __call__(
      self, images: Num[Array, "b h w c"], *, train: bool = False
  ) -> tuple[Float[Array, "b k"], dict[str, jax.Array]]:
    """Classifies images.

    Args:
      images: floats in [-1, 1], or uint8, which is normalised here.
      train: has no effect; there is no dropout.

    Returns:
      `(logits, aux)`: logits are float32 (b, num_classes); aux holds "stage{i}"
      (b h w c) for i from 1, "encoded" (b h w c), "pre_logits" (b c), the
      head's input, and "logits".
    """
    del train
    aux = {}
    features = ROOT_FEATURES * self.width_factor
    x = split_batch(to_floats(images, self.dtype))
    check_channels(self, "root_block/standardized_conv2d", x)
    x = _NestedConv(features, 7, 2, self.dtype, name="root_block")(x)
    # Padding is zeros, not -inf: there is no ReLU before the maximum.
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = split_batch(nn.max_pool(x, (3, 3), strides=(2, 2)))
    for i, units in enumerate(self.units):
      x = _Stage(units, features * 2**i, 1 if i == 0 else 2, self.dtype,
                 self.remat, name=f"block{i + 1}")(x)
      aux[f"stage{i + 1}"] = x
    x = GroupNormRelu(self.dtype, name="group_norm")(x)
    aux["encoded"] = x
    x = split_batch(jnp.mean(x, axis=(1, 2), dtype=jnp.float32))
    aux["pre_logits"] = x
    if self.num_classes:
      x = nn.Dense(
          self.num_classes, dtype=jnp.float32, name="head",
          kernel_init=nn.initializers.zeros,
          bias_init=nn.initializers.constant(self.head_bias_init))(x)
      x = split_batch(x, only=False)
    aux["logits"] = x.astype(jnp.float32)
    return aux["logits"], aux

"""The protocol of networks: what every caller may ask of any family.

Callers that also need tokens, position embeddings or attention, such as the
analysis of attention, are about `VisionTransformer`.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, Self

CHANNELS = 3  # red, green, blue


class Network(Protocol):
  """A Flax module: images in, `(logits, aux)` out.

  Attributes:
    options: the keys of config.model, beside variant and num_classes, that
      networks of this family take.
    has_attention: whether its blocks have heads of attention.
    grid_unit: what `grid` counts, such as "tokens".
    num_classes: width of the head; 0 leaves the head out.
    head_bias_init: start value of the head's bias.
    dtype: compute dtype.
  """

  options: ClassVar[tuple[str, ...]]
  has_attention: ClassVar[bool]
  grid_unit: ClassVar[str]

  num_classes: int
  head_bias_init: float
  dtype: Any

  @property
  def scan(self) -> bool:
    """Whether one compiled block is looped over stacked parameters."""
    ...

  @property
  def variant_name(self) -> str:
    """The paper's name, or "custom/16" and the like where it has none."""
    ...

  @classmethod
  def from_name(cls, name: Any, *, num_classes: int, **options: Any) -> Self:
    """Returns the network of a parsed name of this family.

    Args:
      name: see `vit_jax.models.names`.
      num_classes: width of the head.
      **options: all of `options`; dtype is a dtype, not "auto".
    """
    ...

  @classmethod
  def architecture_keys(cls) -> tuple[str, ...]:
    """Returns the keys of `architecture`, which no other family has all of."""
    ...

  def architecture(self) -> dict[str, Any]:
    """Returns the keyword arguments that make this network again.

    What only decides how it is computed or trained, such as its dtype, is not
    among them. model.json keeps them.
    """
    ...

  def summary(self) -> list[tuple[str, str]]:
    """Returns (label, text) rows that describe the architecture in words."""
    ...

  def grid(self, image_size: Sequence[int]) -> tuple[int, int]:
    """Returns rows and columns of tokens or features for (height, width)."""
    ...

  def macs(self, image_size: Sequence[int], channels: int = CHANNELS) -> int:
    """Returns the multiply-adds of one forward pass over one image.

    By formula. Convolutions and matrix products count, nothing else.

    Args:
      image_size: (height, width) in pixels.
      channels: of the image.
    """
    ...

  def one_block(self) -> "tuple[Network, int]":
    """Returns this network with one of its equal blocks, and their number.

    A network whose blocks differ returns itself and 1.
    """
    ...

  def init(self, rngs: Any, *args: Any, **kwargs: Any) -> Any:
    """As flax.linen.Module."""
    ...

  def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
    """As flax.linen.Module."""
    ...

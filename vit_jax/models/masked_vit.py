"""A ViT whose patches can be hidden, with a head that predicts them (B.1.2).

What it shares with VisionTransformer has the same names, so that its model.npz
is that of a ViT without a head plus the few arrays of EXTRA_NAMES, which
fine-tuning drops.
"""

from collections.abc import Sequence
import dataclasses
import functools

import chex
from flax import linen as nn
from flax import struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from vit_jax.config.sections import ObjectiveConfig
from vit_jax.errors import UsageError, suggest
from vit_jax.models.network import Network
from vit_jax.models.vit import VisionTransformer

KEEP, MASK, REPLACE = 0, 1, 2
COLOURS = 512  # 3 bits for each of red, green and blue.
# What is predicted of a patch -> name of the head.
TARGETS = {"mean_colour": "mean_colour", "colour_4x4": "mean_colour_4x4",
           "regression": "reconstruction"}
EXTRA_NAMES = r"mask_embedding$|(mean_colour|mean_colour_4x4|reconstruction)/"


@struct.dataclass
class Corruption:
  """What happens to the patches of a batch, and which have to be predicted.

  Attributes:
    positions: the corrupted patches of each image, equally many in all.
    action: KEEP, MASK (the learned embedding) or REPLACE (another patch's) for
      every patch.
    other: the patch whose embedding REPLACE takes.
  """

  positions: Int[Array, "*b m"]
  action: Int[Array, "*b n"]
  other: Int[Array, "*b n"]


class MaskedPatchTransformer(VisionTransformer):
  """VisionTransformer for masked patch prediction; it has no classes.

  Attributes:
    target: "mean_colour", "colour_4x4" or "regression".
    corrupted: fraction of the patches that are corrupted and predicted.
    The others are those of VisionTransformer.
  """

  target: str = ObjectiveConfig.target
  corrupted: float = ObjectiveConfig.corrupted

  @property
  def prediction_width(self) -> int:
    """Width of the head's prediction for one patch."""
    rows, cols = self.patch_size
    return {"mean_colour": COLOURS, "colour_4x4": 16 * COLOURS,
            "regression": rows * cols * 3}[self.target]

  @nn.compact
  def __call__(
      self,
      images: Num[Array, "b h w c"],
      *,
      train: bool = False,
      capture_attention: Sequence[int] = (),
      corruption: Corruption | None = None,
  ) -> tuple[Float[Array, "b m k"], dict[str, jax.Array]]:
    """Predicts patches, each from its own place in the output.

    Args:
      images, train, capture_attention: see VisionTransformer.
      corruption: None leaves all patches unchanged.

    Returns:
      predictions: float32, for the corrupted patches in the order of
        `corruption.positions`, or for all; k is `prediction_width`.
      aux: see VisionTransformer; "embedded" is after the corruption.
    """
    mask = self.param(
        "mask_embedding", nn.initializers.normal(stddev=0.02),
        (1, 1, self.width), jnp.float32)
    edit = None if corruption is None else functools.partial(
        corrupt, mask=mask, corruption=corruption)
    _, aux = self._forward(images, train, capture_attention, edit)
    rows, cols = self.grid(images.shape[1:3])
    patches = aux["encoded"][:, -rows * cols:]
    if corruption is not None:
      patches = _take_patches(patches, corruption.positions)
    predictions = nn.Dense(
        self.prediction_width, dtype=jnp.float32, name=TARGETS[self.target],
        kernel_init=nn.initializers.zeros)(patches)
    return predictions, aux


def corrupt(
    x: Float[Array, "b n d"], mask: Float[Array, "1 1 d"],
    corruption: Corruption
) -> Float[Array, "b n d"]:
  """Returns patch embeddings, some hidden or replaced by another patch's."""
  chex.assert_shape([corruption.action, corruption.other], x.shape[:2])
  action = corruption.action[..., None]
  mask = jnp.broadcast_to(mask.astype(x.dtype), x.shape)
  x = jnp.where(action == REPLACE, _take_patches(x, corruption.other), x)
  return jnp.where(action == MASK, mask, x)


def masked_patch_model(
    model: Network, *, target: str, corrupted: float
) -> MaskedPatchTransformer:
  """Returns a model with the architecture of `model` that predicts patches.

  Raises:
    UsageError: unknown target, or a model whose patches cannot be hidden.
  """
  if target not in TARGETS:
    raise UsageError(
        f"objective.target={target!r} is unknown{suggest(target, TARGETS)}; "
        f"it is one of {', '.join(TARGETS)}")
  if not 0 < corrupted <= 1:
    raise UsageError(f"objective.corrupted={corrupted!r} is not a fraction of "
                     "the patches; expected more than 0 and at most 1")
  if not isinstance(model, VisionTransformer):
    raise UsageError(
        "objective.name='masked_patch' hides patches from a Vision "
        f"Transformer; {model.variant_name} is not one: set model.variant to "
        "a plain ViT, such as 'B/16'")
  if model.resnet is not None:
    raise UsageError(
        "objective.name='masked_patch' hides patches from a plain ViT; in a "
        "hybrid, model.variant=R..., the ResNet would show them to each other")
  if model.pre_logits:
    raise UsageError(
        "model.pre_logits is a layer before the head for classes, which "
        "objective.name='masked_patch' does not have; set it to False")
  if target == "colour_4x4" and min(model.patch_size) < 4:
    raise UsageError(
        f"objective.target='colour_4x4' needs patches of at least 4x4 pixels, "
        f"model.patch_size is {model.patch_size}; use 'mean_colour'")
  fields = {f.name: getattr(model, f.name)
            for f in dataclasses.fields(VisionTransformer)
            if f.init and f.name not in ("parent", "name")}
  return MaskedPatchTransformer(
      **(fields | {"num_classes": 0}), target=target, corrupted=corrupted)


def _take_patches(
    x: Float[Array, "b n d"], index: Int[Array, "b m"]
) -> Float[Array, "b m d"]:
  """Returns the patches of each image that its row of `index` names."""
  chex.assert_rank([x, index], [3, 2])
  chex.assert_equal_shape_prefix([x, index], 1)
  return jnp.take_along_axis(x, index[..., None], axis=1)

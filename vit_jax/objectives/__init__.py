"""Objectives of training: loss_fn(params, batch, rng) -> (loss, metrics)."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from vit_jax.config.sections import ObjectiveConfig
from vit_jax.errors import UsageError, suggest
from vit_jax.models.masked_vit import (
    MaskedPatchTransformer,
    masked_patch_model,
)
from vit_jax.models.network import Network
from vit_jax.objectives import classification, masked_patch

LossFn = Callable[..., tuple[jax.Array, dict[str, jax.Array]]]
NAMES = ("classification", "masked_patch")


def make_loss(
    model: Network,
    *,
    name: str = ObjectiveConfig.name,
    loss: str = ObjectiveConfig.loss,
    label_smoothing: float = ObjectiveConfig.label_smoothing,
    mixup: float = ObjectiveConfig.mixup,
    cutmix: float = ObjectiveConfig.cutmix,
    class_weights: str | Sequence[float] = ObjectiveConfig.class_weights,
    class_counts: Sequence[int] | None = None,
    target: str = ObjectiveConfig.target,
    corrupted: float = ObjectiveConfig.corrupted,
) -> LossFn:
  """Returns the loss function of a config's `objective` section.

  Args:
    model: what `trained_model` returned.
    name: "classification" or "masked_patch" (self-supervision).
    loss, label_smoothing, mixup, cutmix, class_weights, class_counts: see
      `classification.make_loss`.
    target, corrupted: of masked_patch, see `trained_model`.

  Raises:
    UsageError: a name is unknown, or a key does not apply to the objective.
  """
  check_name(name)
  if name == "masked_patch":
    about_labels = {
        "label_smoothing": label_smoothing, "mixup": mixup, "cutmix": cutmix,
        "class_weights": class_weights}
    for key, value in about_labels.items():
      if value:
        raise UsageError(
            f"objective.{key}={value} is about labels, which "
            "objective.name='masked_patch' does not use; leave it out")
    assert isinstance(model, MaskedPatchTransformer)  # see `trained_model`
    return masked_patch.make_loss(model)
  return classification.make_loss(
      model, loss=loss, label_smoothing=label_smoothing, mixup=mixup,
      cutmix=cutmix, class_weights=class_weights, class_counts=class_counts)


def trained_model(
    model: Network,
    *,
    name: str = ObjectiveConfig.name,
    target: str = ObjectiveConfig.target,
    corrupted: float = ObjectiveConfig.corrupted,
    **_: Any,
) -> Network:
  """Returns the model that an `objective` section trains, made of `model`.

  Args:
    model: with a head for the classes.
    name: "classification" returns it unchanged; "masked_patch" replaces the
      head by those that predict patches.
    target: what is predicted of a patch, see `vit_jax.models.masked_vit`.
    corrupted: fraction of the patches that is corrupted.

  Raises:
    UsageError: a name is unknown, or the model does not suit the objective.
  """
  check_name(name)
  if name == "classification":
    return model
  return masked_patch_model(model, target=target, corrupted=corrupted)


def check_name(name: str) -> None:
  """Raises UsageError unless there is an objective of this name."""
  if name not in NAMES:
    raise UsageError(f"objective.name={name!r} is unknown"
                     f"{suggest(name, NAMES)}; it is {' or '.join(NAMES)}")

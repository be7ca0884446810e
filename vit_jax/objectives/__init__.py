"""What is minimised: loss_fn(params, batch, rng) -> (loss, metrics)."""

from collections.abc import Callable
from typing import Any

from flax import linen as nn
import jax

from vit_jax.errors import UsageError
from vit_jax.objectives import classification

LossFn = Callable[..., tuple[jax.Array, dict[str, jax.Array]]]


def make_loss(
    model: nn.Module,
    *,
    name: str = "classification",
    loss: str = "softmax",
    label_smoothing: float = 0.0,
    mixup: float = 0.0,
) -> LossFn:
  """Returns the loss function of a config's `objective` section.

  Raises:
    UsageError: a name is unknown.
  """
  if name != "classification":
    raise UsageError(
        f"objective.name={name!r} is unknown; it is classification")
  return classification.make_loss(
      model, loss=loss, label_smoothing=label_smoothing, mixup=mixup)


def example_losses(*, loss: str, **_: Any) -> Callable[..., jax.Array]:
  """Returns (logits, labels) -> loss of each example, for evaluation."""
  return classification.loss_function(loss)

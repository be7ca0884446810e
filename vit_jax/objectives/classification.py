"""Classification: softmax for fine-tuning, sigmoid for pre-training.

With sigmoid (ImageNet-21k; the paper's authors in their repository's issues
2 and 34) each class is its own yes-or-no question and the loss is the sum
over classes: -sum(y log s(z) + (1 - y) log s(-z)).
"""

from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import optax

from vit_jax.config.sections import ObjectiveConfig
from vit_jax.errors import UsageError
from vit_jax.models.features import LOSSES
from vit_jax.models.inputs import normalize
from vit_jax.models.network import Network
from vit_jax.objectives.class_weights import example_weights
from vit_jax.objectives.mixing import blend, draw_shares


def smooth_labels(
    labels: Int[Array, " b"] | Float[Array, "b k"], num_classes: int,
    smoothing: float = 0.0
) -> Float[Array, "b k"]:
  """Returns targets (1 - smoothing) * onehot + smoothing / k.

  Labels that are distributions already (mixup) are smoothed the same way.
  """
  chex.assert_rank(labels, {1, 2})
  if labels.ndim == 1:
    chex.assert_type(labels, int)
    labels = jax.nn.one_hot(labels, num_classes)
  chex.assert_axis_dimension(labels, 1, num_classes)
  return labels * (1.0 - smoothing) + smoothing / num_classes


def loss_function(loss: str) -> Callable[[jax.Array, jax.Array], jax.Array]:
  """Returns (logits b k, targets b k) -> loss of each example (b,).

  Raises:
    UsageError: the loss is unknown.
  """
  if loss == "softmax":
    return optax.softmax_cross_entropy
  if loss == "sigmoid":
    return lambda logits, targets: jnp.sum(
        optax.sigmoid_binary_cross_entropy(logits, targets), axis=-1)
  raise UsageError(
      f"objective.loss={loss!r} is unknown; it is {' or '.join(LOSSES)}")


def make_loss(
    model: Network,
    *,
    loss: str = ObjectiveConfig.loss,
    label_smoothing: float = ObjectiveConfig.label_smoothing,
    mixup: float = ObjectiveConfig.mixup,
    cutmix: float = ObjectiveConfig.cutmix,
    class_weights: str | Sequence[float] = ObjectiveConfig.class_weights,
    class_counts: Sequence[int] | None = None,
) -> Callable[..., tuple[jax.Array, dict[str, jax.Array]]]:
  """Returns loss_fn(params, batch, rng) -> (mean loss, metrics).

  Args:
    model: its head gives the logits.
    loss: "softmax" or "sigmoid".
    label_smoothing: see `smooth_labels`.
    mixup: alpha of `mixup_share`; 0 mixes nothing. Images are mixed before they
      are rounded to the compute dtype, labels as distributions.
    cutmix: alpha of `cutmix_kept`; 0 cuts nothing. With mixup, see
      `draw_shares`.
    class_weights, class_counts: see `vit_jax.objectives.class_weights`.

  Returns:
    A function of parameters, a batch with "image" (b h w c, values 0..255)
    and "label" (b,), and a key for mixing and dropout; metrics hold "accuracy",
    of mixed pictures for the label of the larger share.

  Raises:
    UsageError: unknown loss, or a number out of range.
  """
  per_example = loss_function(loss)
  _check_numbers(label_smoothing, mixup=mixup, cutmix=cutmix)
  weights = example_weights(class_weights, class_counts, model.num_classes)

  def loss_fn(
      params: Any, batch: dict[str, jax.Array], rng: jax.Array
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    images, labels = batch["image"], batch["label"]
    chex.assert_equal_shape_prefix([images, labels], 1)
    targets = smooth_labels(labels, model.num_classes, label_smoothing)
    counted = None if weights is None else jnp.sum(
        smooth_labels(labels, model.num_classes) * weights[None], axis=-1)
    classes = labels if labels.ndim == 1 else jnp.argmax(labels, axis=-1)
    if mixup or cutmix:
      pixels, share = draw_shares(
          rng, mixup=mixup, cutmix=cutmix,
          size=(images.shape[1], images.shape[2]))
      images, targets = blend(pixels, images), blend(share, targets)
      counted = None if counted is None else blend(share, counted)
      classes = jnp.where(share >= 0.5, classes, jnp.roll(classes, 1))
    logits, _ = model.apply(
        {"params": params}, normalize(images, model.dtype), train=True,
        rngs={"dropout": rng})
    chex.assert_equal_shape([logits, targets])
    hits = jnp.argmax(logits, axis=-1) == classes
    losses = per_example(logits, targets)
    return jnp.mean(losses if counted is None else counted * losses), {
        "accuracy": jnp.mean(hits.astype(jnp.float32))}

  return loss_fn


def _check_numbers(label_smoothing: float, **alphas: float) -> None:
  """Raises UsageError for a number that is out of range."""
  if not 0 <= label_smoothing < 1:
    raise UsageError(f"objective.label_smoothing={label_smoothing!r}: a number "
                     "from 0 to below 1 was expected")
  for key, alpha in alphas.items():
    if not 0 <= alpha < float("inf"):
      raise UsageError(
          f"objective.{key}={alpha!r}: a number from 0 (nothing is mixed) up "
          f"was expected, such as {0.2 if key == 'mixup' else 1.0}")

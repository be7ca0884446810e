"""Classification: softmax for fine-tuning, sigmoid for pre-training.

With sigmoid (ImageNet-21k; the paper's authors in their repository's issues
2 and 34) each class is its own yes-or-no question and the loss is the sum
over classes: -sum(y log s(z) + (1 - y) log s(-z)).
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped
import optax

from vit_jax.config.schema import ObjectiveConfig
from vit_jax.errors import UsageError
from vit_jax.models.inputs import normalize
from vit_jax.models.network import Network
from vit_jax.objectives.streams import fold_in_stream

LOSSES = ("softmax", "sigmoid")


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


def mix(
    rng: jax.Array, alpha: float, *arrays: Shaped[Array, "b ..."]
) -> tuple[jax.Array, list[jax.Array]]:
  """Draws what mixup needs: a weight, and each array's rows moved by one.

  One weight w per batch (per micro-batch, where gradients are accumulated) is
  drawn from Beta(alpha, alpha) and replaced by max(w, 1 - w), as in AugReg's
  code: row i is mixed with row i - 1 and keeps the larger share. In
  w * x + (1 - w) * moved, the pairs of a batch and their shares are distributed
  as without the maximum (Zhang et al. 2018).

  Args:
    rng: a key; the draw is the same on any mesh.
    alpha: above 0; 0.2 mixes little, 0.8 much.
    *arrays: with equal first axes.

  Returns:
    The weight, float32 (), and the moved arrays.
  """
  chex.assert_equal_shape_prefix(arrays, 1)
  weight = jax.random.beta(rng, alpha, alpha)
  return jnp.maximum(weight, 1.0 - weight), [
      jnp.roll(x, 1, axis=0) for x in arrays]


def make_loss(
    model: Network,
    *,
    loss: str = ObjectiveConfig.loss,
    label_smoothing: float = ObjectiveConfig.label_smoothing,
    mixup: float = ObjectiveConfig.mixup,
) -> Callable[..., tuple[jax.Array, dict[str, jax.Array]]]:
  """Returns loss_fn(params, batch, rng) -> (mean loss, metrics).

  Args:
    model: its head gives the logits.
    loss: "softmax" or "sigmoid".
    label_smoothing: see `smooth_labels`.
    mixup: alpha of `mix`; 0 mixes nothing. Images are mixed before they are
      rounded to the compute dtype, labels as distributions.

  Returns:
    A function of parameters, a batch with "image" (b h w c, values 0..255)
    and "label" (b,), and a key for mixup and dropout; metrics hold "accuracy",
    with mixup for the label of the larger share.

  Raises:
    UsageError: unknown loss, or a number out of range.
  """
  per_example = loss_function(loss)
  if not 0 <= label_smoothing < 1:
    raise UsageError(f"objective.label_smoothing={label_smoothing!r}: a number "
                     "from 0 to below 1 was expected")
  if not 0 <= mixup < float("inf"):
    raise UsageError(f"objective.mixup={mixup!r}: a number from 0 (nothing is "
                     "mixed) up was expected, such as 0.2")

  def loss_fn(
      params: Any, batch: dict[str, jax.Array], rng: jax.Array
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    images, labels = batch["image"], batch["label"]
    chex.assert_equal_shape_prefix([images, labels], 1)
    targets = smooth_labels(labels, model.num_classes, label_smoothing)
    if mixup:
      weight, (others, other_labels) = mix(
          fold_in_stream(rng, "mixup"), mixup, images, labels)
      images = weight * images.astype(jnp.float32) + (
          1.0 - weight) * others.astype(jnp.float32)
      targets = weight * targets + (1.0 - weight) * smooth_labels(
          other_labels, model.num_classes, label_smoothing)
    logits, _ = model.apply(
        {"params": params}, normalize(images, model.dtype), train=True,
        rngs={"dropout": rng})
    chex.assert_equal_shape([logits, targets])
    classes = labels if labels.ndim == 1 else jnp.argmax(labels, axis=-1)
    hits = jnp.argmax(logits, axis=-1) == classes
    return jnp.mean(per_example(logits, targets)), {
        "accuracy": jnp.mean(hits.astype(jnp.float32))}

  return loss_fn

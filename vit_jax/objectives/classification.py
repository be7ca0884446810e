"""Classification: softmax for fine-tuning, sigmoid for pre-training.

With sigmoid (ImageNet-21k; the paper's authors in their repository's issues
2 and 34) each class is its own yes-or-no question and the loss is the sum
over classes: -sum(y log s(z) + (1 - y) log s(-z)).
"""

from collections.abc import Callable
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import optax

from vit_jax.errors import UsageError
from vit_jax.models.vit import normalize

LOSSES = ("softmax", "sigmoid")


def smooth_labels(
    labels: Int[Array, "b"] | Float[Array, "b k"], num_classes: int,
    smoothing: float = 0.0
) -> Float[Array, "b k"]:
  """Returns targets (1 - smoothing) * onehot + smoothing / k.

  Labels that are distributions already (mixup) are smoothed as they are.
  """
  if labels.ndim == 1:
    labels = jax.nn.one_hot(labels, num_classes)
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
    model: nn.Module, *, loss: str = "softmax", label_smoothing: float = 0.0
) -> Callable[..., tuple[jax.Array, dict[str, jax.Array]]]:
  """Returns loss_fn(params, batch, rng) -> (mean loss, metrics).

  Args:
    model: its head gives the logits.
    loss: "softmax" or "sigmoid".
    label_smoothing: see `smooth_labels`.

  Returns:
    A function of parameters, a batch with "image" (b h w c, values 0..255)
    and "label" (b,), and a key for dropout; metrics hold "accuracy".
  """
  per_example = loss_function(loss)

  def loss_fn(
      params: Any, batch: dict[str, jax.Array], rng: jax.Array
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    logits, _ = model.apply(
        {"params": params}, normalize(batch["image"], model.dtype), train=True,
        rngs={"dropout": rng})
    labels = batch["label"]
    targets = smooth_labels(labels, logits.shape[-1], label_smoothing)
    classes = labels if labels.ndim == 1 else jnp.argmax(labels, axis=-1)
    hits = jnp.argmax(logits, axis=-1) == classes
    return jnp.mean(per_example(logits, targets)), {
        "accuracy": jnp.mean(hits.astype(jnp.float32))}

  return loss_fn

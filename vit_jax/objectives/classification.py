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


def mixup_share(rng: jax.Array, alpha: float) -> Float[Array, ""]:
  """Draws the share that rows keep in mixup: s x_i + (1 - s) x_(i - 1).

  One share per batch (per micro-batch, where gradients are accumulated) is
  drawn from Beta(alpha, alpha) and replaced by max(s, 1 - s), as in AugReg's
  code: row i keeps the larger share. The pairs of a batch and their shares are
  distributed as without the maximum (Zhang et al. 2018).

  Args:
    rng: a key; the draw is the same on any mesh.
    alpha: above 0; 0.2 mixes little, 0.8 much.
  """
  share = jax.random.beta(rng, alpha, alpha)
  return jnp.maximum(share, 1.0 - share)


def cutmix_kept(
    rng: jax.Array, alpha: float, size: tuple[int, int]
) -> Float[Array, "h w"]:
  """Draws the pixels that rows keep in CutMix: 1, and 0 in a box.

  The box comes from the row before, one box per batch or micro-batch (Yun et
  al. 2019, section 3.1). Its sides are floor(sqrt(1 - s) h) and
  floor(sqrt(1 - s) w) with s from Beta(alpha, alpha), its middle is any pixel,
  and what lies outside of the picture is cut off. The label's share is that
  of the pixels that were kept, not s.

  Args:
    rng: a key; the draw is the same on any mesh.
    alpha: above 0; 1, the paper's value, draws s evenly.
    size: h and w, of the pictures in pixels.
  """
  share_key, *middle_keys = jax.random.split(rng, 3)
  side = jnp.sqrt(1.0 - jax.random.beta(share_key, alpha, alpha))
  inside = []
  for key, length in zip(middle_keys, size, strict=True):
    extent = jnp.floor(side * length).astype(jnp.int32)
    first = jax.random.randint(key, (), 0, length) - extent // 2
    place = jnp.arange(length)
    inside.append((place >= first) & (place < first + extent))
  rows, columns = inside
  return 1.0 - (rows[:, None] & columns[None, :]).astype(jnp.float32)


def draw_shares(
    rng: jax.Array, *, mixup: float, cutmix: float, size: tuple[int, int]
) -> tuple[Float[Array, "..."], Float[Array, ""]]:
  """Draws what a row keeps beside the row before it, by mixup or CutMix.

  Where both are on, a batch (or micro-batch) is given to one of them, each
  with probability 1/2, as in timm's training.

  Args:
    rng: of the step, or of a micro-batch.
    mixup, cutmix: alphas of `mixup_share` and `cutmix_kept`, 0 for off; not
      both 0.
    size: (height, width) of the pictures in pixels.

  Returns:
    The share of each pixel, () or (1 h w 1), and that of the label, ().
  """
  if mixup:
    share = mixup_share(fold_in_stream(rng, "mixup"), mixup)
    if not cutmix:
      return share, share
  choice_key, cut_key = jax.random.split(fold_in_stream(rng, "cutmix"))
  kept = cutmix_kept(cut_key, cutmix, size)[None, :, :, None]
  if not mixup:
    return kept, jnp.mean(kept)
  cuts = jax.random.bernoulli(choice_key)
  return jnp.where(cuts, kept, share), jnp.where(cuts, jnp.mean(kept), share)


def blend(
    share: Float[Array, "..."], rows: Shaped[Array, "b ..."]
) -> Float[Array, "b ..."]:
  """Returns share * row i + (1 - share) * row i - 1, float32."""
  rows = jnp.asarray(rows, jnp.float32)
  return share * rows + (1.0 - share) * jnp.roll(rows, 1, axis=0)


def make_loss(
    model: Network,
    *,
    loss: str = ObjectiveConfig.loss,
    label_smoothing: float = ObjectiveConfig.label_smoothing,
    mixup: float = ObjectiveConfig.mixup,
    cutmix: float = ObjectiveConfig.cutmix,
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

  Returns:
    A function of parameters, a batch with "image" (b h w c, values 0..255)
    and "label" (b,), and a key for mixing and dropout; metrics hold "accuracy",
    of mixed pictures for the label of the larger share.

  Raises:
    UsageError: unknown loss, or a number out of range.
  """
  per_example = loss_function(loss)
  if not 0 <= label_smoothing < 1:
    raise UsageError(f"objective.label_smoothing={label_smoothing!r}: a number "
                     "from 0 to below 1 was expected")
  for key, alpha, usual in (("mixup", mixup, 0.2), ("cutmix", cutmix, 1.0)):
    if not 0 <= alpha < float("inf"):
      raise UsageError(
          f"objective.{key}={alpha!r}: a number from 0 (nothing is mixed) up "
          f"was expected, such as {usual}")

  def loss_fn(
      params: Any, batch: dict[str, jax.Array], rng: jax.Array
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    images, labels = batch["image"], batch["label"]
    chex.assert_equal_shape_prefix([images, labels], 1)
    targets = smooth_labels(labels, model.num_classes, label_smoothing)
    classes = labels if labels.ndim == 1 else jnp.argmax(labels, axis=-1)
    if mixup or cutmix:
      pixels, share = draw_shares(
          rng, mixup=mixup, cutmix=cutmix,
          size=(images.shape[1], images.shape[2]))
      images, targets = blend(pixels, images), blend(share, targets)
      classes = jnp.where(share >= 0.5, classes, jnp.roll(classes, 1))
    logits, _ = model.apply(
        {"params": params}, normalize(images, model.dtype), train=True,
        rngs={"dropout": rng})
    chex.assert_equal_shape([logits, targets])
    hits = jnp.argmax(logits, axis=-1) == classes
    return jnp.mean(per_example(logits, targets)), {
        "accuracy": jnp.mean(hits.astype(jnp.float32))}

  return loss_fn

"""Pictures mixed with others of the batch: mixup and CutMix, on the device.

Row i is mixed with row i - 1, labels as distributions. The draws of a step are
a function of seed and step, and the same on any mesh.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from vit_jax.objectives.streams import fold_in_stream


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

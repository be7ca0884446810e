"""What a network computes on the way to its logits, by name.

pooled         (b d)          the head's input
cls            (b d)          the class token after the last LayerNorm
patches        (b rows cols d)  the patches after the last LayerNorm
probabilities  (b k)          of the classes, by the loss of the training
NAME           any entry of the network's `aux`: "embedded", "block3",
               "encoded", "attention3", "logits", ... (ResNets: "stage2")
"""

from collections.abc import Mapping
import functools
import re
from typing import Any

import jax
from jaxtyping import Array, Float, Num

from vit_jax.errors import UsageError, suggest
from vit_jax.models.network import Network
from vit_jax.models.pooling import WITH_CLASS_TOKEN
from vit_jax.models.predict import logits_of
from vit_jax.models.vit import VisionTransformer

_ATTENTION = re.compile(r"attention(\d+)")
_PROBABILITIES = {"softmax": jax.nn.softmax, "sigmoid": jax.nn.sigmoid}
LOSSES = tuple(_PROBABILITIES)


def probabilities(
    logits: Float[Array, "b k"], loss: str
) -> Float[Array, "b k"]:
  """Returns the probabilities of the classes.

  Args:
    logits: of a network.
    loss: of its training. "softmax": they sum to 1; "sigmoid": every class is
      a question of its own.
  """
  return _PROBABILITIES[loss](logits)


@functools.partial(jax.jit, static_argnames=("model", "at", "loss", "flip"))
def features(
    model: Network, params: Any, images: Num[Array, "b h w c"], at: str,
    loss: str, flip: bool = False,
) -> Float[Array, "b ..."]:
  """Returns what the network computes at a place, float32.

  Compiled once for a network, a place and a batch size; equal networks share
  it.

  Args:
    model: hashable, as all networks are.
    params: its parameters.
    images: see the network's `__call__`.
    at: a name; the head of this module lists them.
    loss: of the training, see `probabilities`.
    flip: take the probabilities of averaged logits, see
      `vit_jax.models.predict.logits_of`.

  Raises:
    UsageError: this network has nothing of that name.
  """
  captured = _ATTENTION.fullmatch(at)
  options = {}
  if (captured and isinstance(model, VisionTransformer)
      and int(captured[1]) < model.depth):
    options["capture_attention"] = (int(captured[1]),)
  logits, aux = model.apply({"params": params}, images, **options)
  if flip:
    logits = logits_of(model, params, images, flip=True)
  named = _named(model, images, logits, aux, loss)
  if at not in named:
    _refuse(at, model, named)
  return named[at].astype("float32")


def _named(
    model: Network, images: jax.Array, logits: jax.Array,
    aux: Mapping[str, jax.Array], loss: str,
) -> dict[str, jax.Array]:
  """Returns everything that has a name; what is not used costs nothing."""
  named = {"pooled": aux["pre_logits"]}
  encoded = aux["encoded"]
  if isinstance(model, VisionTransformer):
    if model.pooling in WITH_CLASS_TOKEN:
      named["cls"] = encoded[:, 0]
    rows, cols = model.grid(images.shape[1:3])
    encoded = encoded[:, -rows * cols:].reshape(
        encoded.shape[0], rows, cols, encoded.shape[-1])
  named["patches"] = encoded
  if model.num_classes:
    named["probabilities"] = probabilities(logits, loss)
  return named | dict(aux)


def _refuse(at: str, model: Network, named: Mapping[str, Any]) -> None:
  """Raises UsageError with the names that there are."""
  names = list(named)
  if isinstance(model, VisionTransformer):
    if at == "cls":
      raise UsageError(
          f"at='cls': this model has no class token, model.pooling is "
          f"{model.pooling!r}; use 'pooled' or 'patches'")
    names += [f"attention{i}" for i in range(model.depth)]
  if at == "probabilities":
    raise UsageError(
        "at='probabilities': this model has no head; use 'pooled'")
  shown = list(dict.fromkeys(re.sub(r"\d+$", "N", name) for name in names))
  numbers = f", N from 0 to {model.depth - 1}" if isinstance(
      model, VisionTransformer) else ", N from 1"
  raise UsageError(
      f"at={at!r} is unknown{suggest(str(at), names)}; expected one of "
      f"{', '.join(shown)}{numbers}")

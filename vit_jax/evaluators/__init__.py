"""Scores of a model on a data set: run(params) -> {name: value}."""

from collections.abc import Callable
from typing import Any, Protocol

from vit_jax.config.schema import eval_config
from vit_jax.data.sources import Source
from vit_jax.errors import UsageError, suggest
from vit_jax.evaluators.accuracy import Accuracy
from vit_jax.evaluators.fewshot import FewShot
from vit_jax.evaluators.masked_patch import MaskedPatch
from vit_jax.evaluators.multilabel import make_real
from vit_jax.evaluators.subset import make_imagenet_v2, make_objectnet

# Each type's maker, and the keys that it has beyond everybody's.
TYPES: dict[str, tuple[Callable[..., "Evaluator"], tuple[str, ...]]] = {
    "accuracy": (Accuracy, ()),
    "real": (make_real, ("labels",)),
    "imagenet_v2": (make_imagenet_v2, ()),
    "objectnet": (make_objectnet, ("labels",)),
    "masked_patch": (MaskedPatch, ()),
    "fewshot": (FewShot, ("train_split", "shots", "num_seeds", "l2")),
}
_OWN = {key for _, keys in TYPES.values() for key in keys}
_WITH_LOSS = ("accuracy", "imagenet_v2")


class Evaluator(Protocol):
  """What the training loop and the verb evaluate use."""

  source: Source

  def run(self, params: Any) -> dict[str, float]:
    """Returns the scores of these parameters."""


def make_evaluator(
    *, type: str = "accuracy", **kwargs: Any  # noqa: A002
) -> Evaluator:
  """Returns the evaluator of one entry of a config's `evals` section.

  Args:
    type: "accuracy", "real" (ImageNet-ReaL), "imagenet_v2", "objectnet",
      "masked_patch" or "fewshot"; see the modules of these names (and
      multilabel and subset).
    **kwargs: see `vit_jax.evaluators.accuracy.Accuracy`, and for a type's own
      keys its maker.

  Raises:
    UsageError: the type is unknown, or a key is set that it does not use.
  """
  if type not in TYPES:
    raise UsageError(
        f"evals.NAME.type={type!r} is unknown{suggest(type, TYPES)}; it is "
        f"one of {', '.join(TYPES)}")
  make, own = TYPES[type]
  defaults = eval_config()
  for key in _OWN & set(kwargs):
    if key in own:
      continue
    value = kwargs.pop(key)
    if value != defaults[key]:
      users = [name for name, (_, keys) in TYPES.items() if key in keys]
      raise UsageError(
          f"evals.NAME.{key}={value!r} is not used by type={type!r}, only by "
          f"{', '.join(users)}")
  if type not in _WITH_LOSS:
    kwargs.pop("loss", None)
  return make(**kwargs)

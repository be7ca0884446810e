"""Scores of a model on a data set: run(params) -> {name: value}."""

from typing import Any

from vit_jax.errors import UsageError
from vit_jax.evaluators.accuracy import Accuracy


def make_evaluator(*, type: str = "accuracy", **kwargs: Any) -> Accuracy:  # noqa: A002
  """Returns the evaluator of one entry of a config's `evals` section.

  Raises:
    UsageError: the type is unknown.
  """
  if type != "accuracy":
    raise UsageError(f"evals.NAME.type={type!r} is unknown; it is accuracy")
  return Accuracy(**kwargs)

"""Scores of a model on a data set: run(params) -> {name: value}.

Each type in `vit_jax.config.sections.EVALUATORS` is a module here, whose
make(context, **own keys) returns the evaluator.
"""

from collections.abc import Sequence
import importlib
from typing import Any, Protocol

from vit_jax.config.schema import eval_config
from vit_jax.config.sections import EVALUATORS, EvalConfig
from vit_jax.data.sources import Source
from vit_jax.errors import UsageError, suggest
from vit_jax.evaluators.accuracy import Accuracy
from vit_jax.evaluators.context import EvalContext
from vit_jax.evaluators.outcomes import Outcomes


class Evaluator(Protocol):
  """What the training loop and the verb `evaluate` use.

  Attributes:
    source: the examples that are scored, with their labels.
  """

  source: Source

  @property
  def metrics(self) -> Sequence[str]:
    """Names of the scores that `vit_jax.training.watch` can watch."""

  def run(self, params: Any) -> dict[str, float]:
    """Returns the scores of these parameters, and "examples", their number."""


def make_evaluator(
    *, type: str = EvalConfig.type, **keys: Any  # noqa: A002
) -> Evaluator:
  """Returns the evaluator of one entry of a config's `evals` section.

  Args:
    type: one of `vit_jax.config.sections.EVALUATORS`.
    **keys: attributes of `EvalContext`, and the type's own keys, see `make` in
      the module of its name. Keys of an entry that are left out have the
      defaults of `vit_jax.config.schema.eval_config`.

  Raises:
    UsageError: the type is unknown, or a key of another type is set.
  """
  if type not in EVALUATORS:
    raise UsageError(
        f"evals.NAME.type={type!r} is unknown{suggest(type, EVALUATORS)}; it "
        f"is one of {', '.join(EVALUATORS)}")
  entry = eval_config().to_dict() | keys
  users = {key: [name for name, own in EVALUATORS.items() if key in own]
           for key in entry}
  for key, names in users.items():
    if names and type not in names and entry[key] != EVALUATORS[names[0]][key]:
      raise UsageError(
          f"evals.NAME.{key}={entry[key]!r} is not used by type={type!r}, only "
          f"by {', '.join(names)}")
  # at_end is for the training loop, which knows when that is.
  shared = {key: value for key, value in entry.items()
            if not users[key] and key not in ("type", "at_end")}
  own = {key: entry[key] for key in EVALUATORS[type]}
  module = importlib.import_module(f"vit_jax.evaluators.{type}")
  return module.make(EvalContext(**shared), **own)


def run_by_example(
    evaluator: Evaluator, params: Any
) -> tuple[dict[str, float], Outcomes | None]:
  """Returns the scores, and what was said of each example.

  The second is None where an example has no single label to compare with.
  """
  if isinstance(evaluator, Accuracy):
    return evaluator.run_by_example(params)
  return evaluator.run(params), None

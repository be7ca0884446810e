"""Every type of evaluator is one module and one line of the schema's table."""

import importlib
import inspect

import pytest

from vit_jax.config.schema import eval_config
from vit_jax.config.sections import EVALUATORS
from vit_jax.errors import UsageError
from vit_jax.evaluators import make_evaluator
from vit_jax.evaluators.context import EvalContext


@pytest.mark.parametrize("type_", EVALUATORS)
def test_a_types_own_keys_are_its_makers_keywords(type_):
  module = importlib.import_module(f"vit_jax.evaluators.{type_}")
  context, *own = inspect.signature(module.make).parameters.values()
  assert context.name == "context"
  assert {p.name for p in own} == set(EVALUATORS[type_])
  assert {p.kind for p in own} <= {inspect.Parameter.KEYWORD_ONLY}


def test_types_that_share_a_key_share_its_default():
  entry = eval_config()
  for own in EVALUATORS.values():
    assert own == {key: entry[key] for key in own}


def test_keys_of_other_types_are_refused(common):
  with pytest.raises(UsageError, match="labels='x'.*only by real, objectnet"):
    make_evaluator(type="accuracy", source="digits", labels="x", **common)
  with pytest.raises(UsageError, match="did you mean 'fewshot'"):
    make_evaluator(type="few_shot", source="digits", **common)
  with pytest.raises(TypeError, match="splitt"):
    make_evaluator(source="digits", splitt="test", **common)


def test_a_sum_that_kept_an_axis_is_an_error(common):
  # Or its parts would be added up as if they were one number.
  context = EvalContext(source="digits", split="test[:40]", **common)
  with pytest.raises(AssertionError, match="rank"):
    context.make_pass(context.open_source()).add_up(
        lambda batch: {"examples": batch["mask"]})

"""Sections are splatted into functions; wrong keys and values are named."""

import inspect

from ml_collections import ConfigDict
import pytest

from vit_jax.config import schema
from vit_jax.devices.sharding import make_mesh
from vit_jax.errors import UsageError
from vit_jax.objectives import make_loss
from vit_jax.optim import make_optimizer
from vit_jax.training.checkpoint import Checkpointer
from vit_jax.weights.load import init_params

FUNCTIONS = {
    "init": init_params, "objective": make_loss,
    "optim": make_optimizer, "mesh": make_mesh, "checkpoint": Checkpointer}
# What the program and not the config says.
GIVEN = {"model", "image_size", "total_steps", "devices", "workdir"}


@pytest.mark.parametrize("section", FUNCTIONS)
def test_a_section_is_a_functions_keywords_with_the_same_defaults(section):
  known = schema.default_config()[section]
  signature = inspect.signature(FUNCTIONS[section])
  parameters = {k: p for k, p in signature.parameters.items()
                if k not in GIVEN}
  assert set(known) == set(parameters)
  for key, parameter in parameters.items():
    if parameter.default is not inspect.Parameter.empty:
      assert known[key] == parameter.default, key


def test_resolve_fills_in_and_leaves_the_original_alone():
  given = ConfigDict({"train": {"steps": 7}})
  resolved = schema.resolve(given)
  assert resolved.train.steps == 7
  assert resolved.optim.beta1 == 0.9
  resolved.train.steps = 8
  assert given.train.steps == 7


@pytest.mark.parametrize("change, message", [
    ({"train": {"stps": 1}}, r"'train.stps' \(did you mean 'steps'\?\)"),
    ({"trian": {}}, r"'trian' \(did you mean 'train'\?\)"),
    ({"model": {"learning_rate": 1.0}}, "did you mean 'optim.learning_rate'"),
    ({"evals": {"val": {"splt": "x"}}}, r"'evals.val.splt'.*'split'"),
    ({"train": {"steps": "many"}}, "config.train.steps='many'"),
    ({"train": {"steps": 5, "epochs": 2.0}}, "set one of config.train.steps"),
    ({}, "set one of config.train.steps"),
    ({"train": {"steps": -5}}, "config.train.steps=-5 must be positive"),
    ({"train": {"steps": 5, "accumulate": 3}}, "multiple of"),
    ({"train": {"steps": 5}, "data": {"batch_size": 0}}, "data.batch_size=0"),
    ({"base_lr": 0.1}, "called 'optim.learning_rate' here"),
])
def test_wrong_configs_are_named(change, message):
  with pytest.raises(UsageError, match=message) as error:
    schema.resolve(ConfigDict(change))
  assert "\n" not in str(error.value)


def test_epochs_become_steps():
  config = schema.default_config()
  config.train.epochs = 2.5
  config.data.batch_size = 10
  assert schema.total_steps(schema.resolve(config), 101) == 25
  config.train.epochs, config.train.steps = 0.0, 3
  assert schema.total_steps(schema.resolve(config), 101) == 3


def test_defaults_do_not_share_their_placeholders():
  config = schema.default_config()
  config.train.steps = 5
  assert config.model.width is None
  assert schema.default_config().train.steps is None


def test_old_names_all_lead_to_keys_that_exist():
  config = schema.default_config()
  for new in schema.OLD_NAMES.values():
    node = config
    for part in new.split(" ")[0].split("."):
      if part == "test":
        node = schema.eval_config()
        continue
      node = getattr(node, part)

"""Sections are splatted into functions; wrong keys and values are named."""

import inspect
import json

from ml_collections import ConfigDict
import pytest

from vit_jax.config import schema
from vit_jax.config.find import load_config
from vit_jax.config.old_names import OLD_NAMES
from vit_jax.devices.sharding import make_mesh
from vit_jax.errors import UsageError
from vit_jax.models.variants import make_model
from vit_jax.models.vit import VisionTransformer
from vit_jax.objectives import make_loss
from vit_jax.optim import make_optimizer
from vit_jax.training.checkpoint import Checkpointer
from vit_jax.weights.load import init_params

# What takes a section's keys, and what it takes beside them.
FUNCTIONS = {
    "init": (init_params, {"model", "image_size"}),
    "objective": (make_loss, {"model", "class_counts"}),
    "optim": (make_optimizer, {"total_steps"}),
    "mesh": (make_mesh, {"devices"}),
    "checkpoint": (Checkpointer, {"workdir"}),
}


@pytest.mark.parametrize("section", FUNCTIONS)
def test_a_section_is_a_functions_keywords(section):
  function, others = FUNCTIONS[section]
  parameters = set(inspect.signature(function).parameters)
  assert parameters - others == set(schema.default_config()[section])


@pytest.mark.parametrize("key", schema.default_config().model)
def test_every_key_of_a_model_is_taken_by_make_model(key):
  assert key in ("variant", "num_classes", *VisionTransformer.options)
  defaults = schema.default_config().model.to_dict()
  make_model(**defaults | {"variant": "B/16", "num_classes": 2})
  with pytest.raises(TypeError, match=f"no argument {key}_"):
    make_model("Ti/16", num_classes=2, **{f"{key}_": defaults[key]})


def test_a_functions_defaults_are_the_configs():
  model = make_model("Ti/16", num_classes=2)
  for key in ("pooling", "posemb", "dropout", "gelu", "remat", "scan"):
    assert getattr(model, key) == schema.default_config().model[key]
  assert make_mesh().shape == make_mesh(
      **schema.default_config().mesh).shape


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
    ({"train": {"steps": 5, "seed": -1}}, "train.seed=-1 must lie between 0"),
    ({"train": {"steps": 5, "seed": 2**63}}, "train.seed=9223372036854775808"),
    ({"train": {"steps": 5, "ema_decay": 1.0}}, "ema_decay=1.0.*below 1"),
    ({"base_lr": 0.1}, "called 'optim.learning_rate' here"),
])
def test_wrong_configs_are_named(change, message):
  with pytest.raises(UsageError, match=message) as error:
    schema.resolve(ConfigDict(change))
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("given, size", [
    ("224", (224, 224)), ("224x160", (224, 160)), ("(224,160)", (224, 160)),
    ("[224, 160]", (224, 160)), ("224,160", (224, 160)),
    ("64x64", (64, 64))])
def test_images_may_be_higher_than_wide(given, size):
  words = ["--config=configs/quickstart.py",
           f"--config.data.image_size={given}"]
  resolved = schema.resolve(load_config(words))
  assert schema.image_size(resolved) == size
  again = schema.resolve(ConfigDict(json.loads(
      resolved.to_json_best_effort())))  # As in config.json.
  assert again.data.image_size == resolved.data.image_size
  config = schema.default_config()
  config.data.image_size = size
  assert schema.image_size(config) == size


@pytest.mark.parametrize("size", [
    "many", "224x", "224x160x3", 0, -8, (8, 0), (8,), 8.5, True, "(8, 'a')"])
def test_other_image_sizes_are_refused(size):
  config = ConfigDict({"train": {"steps": 1}, "data": {"image_size": size}})
  with pytest.raises(UsageError, match="HEIGHTxWIDTH") as error:
    schema.resolve(config)
  assert f"config.data.image_size={size!r}" in str(error.value)


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
  for new in OLD_NAMES.values():
    node = config
    for part in new.split(" ")[0].split("."):
      if part == "test":
        node = schema.eval_config()
        continue
      node = getattr(node, part)

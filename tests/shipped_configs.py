"""The recipes of configs/, loaded by file and built without any data."""

import importlib.util
import pathlib

from vit_jax.config import schema
from vit_jax.data.transforms import make_transforms
from vit_jax.models.bit_resnet import BiTResNet
from vit_jax.models.variants import make_model
from vit_jax.objectives import make_loss, trained_model
from vit_jax.optim import make_optimizer

FOLDER = pathlib.Path(__file__).parents[1] / "configs"
FILES = sorted(path.name for path in FOLDER.glob("*.py"))


def load(name):
  """Returns the module of a shipped config file."""
  spec = importlib.util.spec_from_file_location(
      f"config_{name.removesuffix('.py')}", FOLDER / name)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def get(name, arg=""):
  return load(name).get_config(arg)


def check_works(config):
  """Builds from each section what training builds, without any data."""
  resolved = schema.resolve(config)
  size = schema.image_size(resolved)
  model = make_model(**(resolved.model.to_dict() | {
      "num_classes": resolved.model.num_classes or 10}))
  assert isinstance(model, BiTResNet) or size[0] % model.patch_size[0] == 0
  steps = schema.total_steps(resolved, 10_000_000)
  make_optimizer(total_steps=steps, **resolved.optim)
  make_loss(trained_model(model, **resolved.objective), **resolved.objective)
  make_transforms(resolved.data.preprocess, size)
  assert resolved.evals, "a recipe without evaluation"
  for entry in resolved.evals.values():
    assert not make_transforms(entry.preprocess, size).random

"""A tiny model on disk, and the command line in-process."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from vit_jax import __main__
from vit_jax.models.vit import VisionTransformer
from vit_jax.weights import convert
from vit_jax.weights.model_json import read_model_json

NAMES = [f"digit {i}" for i in range(10)]
DIGITS = [str(i) for i in range(10)]  # As the data set names its classes.


@dataclasses.dataclass
class Ran:
  """What a command did."""

  code: int
  out: str
  err: str

  def json(self):
    return json.loads(self.out)


@pytest.fixture
def vit(capsys):
  """Runs `vit_jax WORD...` in this process."""

  def run(*words) -> Ran:
    capsys.readouterr()
    try:
      code = __main__.main([str(word) for word in words])
    except SystemExit as exit:
      code = exit.code
    out, err = capsys.readouterr()
    return Ran(code or 0, out, err)

  return run


@pytest.fixture(scope="session")
def tiny_model():
  """A model for 8x8 images and ten classes, and its parameters."""
  model = VisionTransformer(
      num_classes=10, patch_size=(4, 4), width=16, depth=1, mlp_dim=32,
      num_heads=2, pre_logits=0)
  params = jax.tree.map(np.array, jax.jit(model.init)(
      jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))["params"])
  params["head"]["kernel"] = np.random.default_rng(0).normal(
      size=(16, 10)).astype(np.float32)
  return model, params


@pytest.fixture(scope="session")
def digits_checkpoint(tmp_path_factory, tiny_model):
  """The tiny model with the class names of the digits."""
  path = tmp_path_factory.mktemp("digits") / "tiny.npz"
  convert.write_weights(path, tiny_model[1], {
      "class_names": DIGITS, "preprocess": "resize({size})"})
  return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, tiny_model):
  """model.npz and model.json of the tiny model."""
  path = tmp_path_factory.mktemp("checkpoint") / "tiny.npz"
  convert.write_weights(path, tiny_model[1], {
      "class_names": NAMES, "preprocess": "resize({size})",
      "scores": {"eval/test/accuracy": 0.125}, "step": 7})
  assert read_model_json(path)["class_names"] == NAMES
  return path

"""A tiny model, digits written as picture files, and the model's own answer."""

import cv2
import jax
import numpy as np
import pytest
from tiny_images import CLASSES, SIZE, SPLIT

from vit_jax.data.preprocess import Preprocess
from vit_jax.data.sources import make_source
from vit_jax.devices.sharding import make_mesh
from vit_jax.models.vit import VisionTransformer


@pytest.fixture(scope="session")
def model():
  return VisionTransformer(
      num_classes=CLASSES, patch_size=(4, 4), width=16, depth=1, mlp_dim=32,
      num_heads=2)


@pytest.fixture(scope="session")
def params(model):
  tree = jax.tree.map(np.array, jax.jit(model.init)(
      jax.random.key(0), np.zeros((1, *SIZE, 3), np.float32))["params"])
  tree["head"]["kernel"] = np.random.default_rng(0).normal(
      size=(16, CLASSES)).astype(np.float32)
  return tree


@pytest.fixture(scope="session")
def common(model):
  """What every evaluator is made with."""
  return dict(model=model, mesh=make_mesh(), image_size=SIZE, data_dir="",
              preprocess="resize({size})", batch_size=16, num_threads=2)


@pytest.fixture(scope="session")
def answer(model, params):
  """Returns (images as paths or arrays) -> (logits, features)."""
  apply = jax.jit(lambda x: model.apply({"params": params}, x))

  def run(images):
    logits, aux = apply(Preprocess("resize({size})", SIZE)(images))
    return np.asarray(logits), np.asarray(aux["pre_logits"])

  return run


@pytest.fixture(scope="session")
def digits():
  """Forty pictures of digits and their labels."""
  source = make_source("digits", split=SPLIT)
  return [(source[i]["image"], source[i]["label"]) for i in range(len(source))]


@pytest.fixture(scope="session")
def logits(digits, answer):
  return answer([image for image, _ in digits])[0]


@pytest.fixture(scope="session")
def labels(digits):
  return np.array([label for _, label in digits])


@pytest.fixture(scope="session")
def write():
  def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", image[..., ::-1])[1].tobytes())
    return str(path)

  return write

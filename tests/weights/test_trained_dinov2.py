"""A trained DINOv2 gives what onnxruntime gives, through every path."""

import family_cases as cases
import jax
import numpy as np
from PIL import Image
import pytest
import trained_dinov2

from vit_jax.paper import dinov2
from vit_jax.weights.convert import convert
from vit_jax.weights.load import load
from vit_jax.weights.read import read_weights

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def network():
  return trained_dinov2.find()


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
  folder = tmp_path_factory.mktemp("dinov2")
  dinov2.write_folder(network, folder)
  return folder


def tokens(path, images):
  vit = load(path, image_size=224)
  aux = jax.jit(vit.model.apply)({"params": vit.params}, images)[1]
  return np.asarray(aux["encoded"])


def test_it_is_a_dinov2(folder):
  file = read_weights(folder / "model.safetensors")
  model = file.model()
  assert model.variant_name == "S/14"
  assert model.layer_scale and model.num_heads == 6
  assert file.image_size == (518, 518)
  assert file.metadata["posemb_resize"] == "torch_bicubic"


@pytest.mark.slow
def test_tokens_are_those_of_onnxruntime(network, folder, tmp_path):
  rng = np.random.default_rng(0)
  images = np.stack([
      rng.uniform(-1, 1, (224, 224, 3)),
      np.asarray(Image.fromarray(rng.integers(0, 256, (6, 9, 3), "u1")).resize(
          (224, 224))) / 127.5 - 1]).astype(np.float32)
  want = trained_dinov2.tokens_of(network, images)
  assert want.shape == (2, 257, 384)
  source = folder / "model.safetensors"
  written = [source, tmp_path / "ours.npz", tmp_path / "timm" /
             "model.safetensors", tmp_path / "theirs" / "model.safetensors"]
  for path, dialect in zip(
      written[1:], ("released", "timm", "hugging_face"), strict=True):
    convert(source, path, dialect)
  for path in written:
    got = tokens(path, images)
    print(path.name, cases.difference(got, want))
    assert cases.difference(got, want) <= cases.TOLERANCE
  # The positions and their resize matter.
  vit = load(source, image_size=224, method="corner_aligned")
  other = vit.model.apply({"params": vit.params}, images)[1]["encoded"]
  assert cases.difference(np.asarray(other), want) > 1e-3

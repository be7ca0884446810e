"""torchvision's names, and torchvision itself as the judge of logits."""

import numpy as np
import oracle
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.weights.convert import write_weights
from vit_jax.weights.formats import safetensors
from vit_jax.weights.load import load
from vit_jax.weights.names import torchvision
from vit_jax.weights.names.codec import FileConfig

ATOL = 5e-6


@pytest.mark.parametrize("options", [{}, {"pre_logits": 8}, {"num_classes": 0}])
def test_names_go_both_ways(small_model, random_flat, assert_same, options):
  flat = random_flat(small_model(depth=11, **options), (32, 32))
  theirs, _ = torchvision.CODEC.encode(
      flat, {"gelu": "erf", "ln_eps": 1e-6})
  assert not any("/" in name for name in theirs)
  config = FileConfig("f", "f", num_heads=4)
  decoded, _ = torchvision.CODEC.decode(theirs, config)
  assert_same(
      {n: np.ascontiguousarray(a) for n, a in decoded.items()}, flat)


def test_networks_without_a_class_token_are_refused(small_model, random_flat):
  with pytest.raises(CheckpointError, match="torchvision's.* a class token"):
    torchvision.CODEC.encode(random_flat(small_model(pooling="gap")), {})


def network(image_size):
  """Returns torchvision's network with random weights, ready to compute."""
  oracle.import_timm()  # Mends what torchvision misses.
  import torch
  from torchvision.models.vision_transformer import VisionTransformer

  torch.manual_seed(0)
  model = VisionTransformer(
      image_size=image_size, patch_size=8, num_layers=2, num_heads=4,
      hidden_dim=48, mlp_dim=96, num_classes=5).eval()
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.add_(0.05 * torch.randn_like(parameter))
  return model


def judged(model, images):
  """Returns torchvision's logits of images in 0..255, prepared its way."""
  import torch

  mean = np.array([0.485, 0.456, 0.406])
  std = np.array([0.229, 0.224, 0.225])
  normalised = ((images / 255 - mean) / std).astype(np.float32)
  with torch.no_grad():
    return model(torch.from_numpy(normalised.transpose(0, 3, 1, 2))).numpy()


def ours(vit, images):
  scaled = ((images - 127.5) / 127.5).astype(np.float32)
  return vit.model.apply({"params": vit.params}, scaled)[0]


@pytest.mark.oracle
@pytest.mark.parametrize("old, image_size", [
    (False, 48), (True, 32), *(
        pytest.param(*values, marks=pytest.mark.thorough)
        for values in ((False, 32), (True, 48)))])
def test_logits_equal_torchvisions(tmp_path, image_size, old, caplog):
  model = network(image_size)
  arrays = {name: value.numpy() for name, value in model.state_dict().items()}
  if old:
    arrays = {name.replace("mlp.0.", "mlp.linear_1.")
              .replace("mlp.3.", "mlp.linear_2."): value
              for name, value in arrays.items()}
  path = tmp_path / "vit.safetensors"
  safetensors.write_safetensors(path, arrays, {})
  vit = load(path, num_heads=4)
  assert "does not state how its images are prepared" in caplog.text
  assert vit.config["image_size"] == (image_size, image_size)
  assert vit.preprocess.text == "pil_crop({size}, 0.875, 'bilinear')"
  images = np.random.default_rng(0).uniform(
      0, 255, (2, image_size, image_size, 3))
  want = judged(model, images)
  np.testing.assert_allclose(ours(vit, images), want, rtol=0, atol=ATOL)
  assert np.abs(ours(vit, images[::-1]) - want).max() > 1e-3


@pytest.mark.oracle
def test_torchvision_computes_what_was_written(tmp_path, small_model,
                                               random_flat, describe):
  torch = pytest.importorskip("torch", reason="torch is not installed")
  model = small_model(num_classes=5, mlp_dim=96, patch_size=(8, 8), gelu="erf")
  flat = random_flat(model, (32, 32))
  path = tmp_path / "vit.safetensors"
  write_weights(path, flat, describe(model, (32, 32)), "torchvision")
  theirs = network(32)
  arrays, _ = safetensors.read_safetensors(path)
  theirs.load_state_dict({
      name: torch.from_numpy(np.array(a)) for name, a in arrays.items()})
  vit = load(path)
  images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("f4")
  with torch.no_grad():
    want = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
  got = vit.model.apply({"params": vit.params}, images)[0]
  np.testing.assert_allclose(got, want, rtol=0, atol=ATOL)

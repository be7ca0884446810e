"""timm's names, and timm itself as the judge of logits (marked oracle)."""

import jax
import numpy as np
import oracle
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.weights import trees
from vit_jax.weights.convert import write_weights
from vit_jax.weights.formats import safetensors
from vit_jax.weights.load import load
from vit_jax.weights.names import timm
from vit_jax.weights.names.codec import FileConfig

ATOL = 5e-6
MODELS = {
    "cls": dict(),
    "gap": dict(pooling="gap"),
    "map": dict(pooling="map"),
    "no_qkv_bias": dict(qkv_bias=False),
    "features": dict(num_classes=0),
    "pre_logits": dict(pre_logits=8),
    "hybrid": dict(resnet=(2, 1), resnet_width=0.5, patch_size=(1, 1)),
    "root": dict(resnet=(), resnet_width=0.5, patch_size=(2, 2)),
}


def encode(flat):
  """Returns parameters under timm's names, of a model with its epsilons."""
  return timm.CODEC.encode(flat, {"stem_eps": "timm"})[0]


def decode(theirs, num_heads):
  return timm.CODEC.decode(
      theirs, FileConfig("f", "f", num_heads=num_heads))[0]


@pytest.mark.parametrize("name", MODELS)
def test_names_go_both_ways(small_model, random_flat, assert_same, name):
  flat = random_flat(small_model(depth=11, **MODELS[name]), (32, 32))
  theirs = encode(flat)
  got = decode(theirs, 4)
  assert_same({n: np.ascontiguousarray(a) for n, a in got.items()}, flat)
  assert not any("/" in n for n in theirs)
  wrong = decode(theirs, 2)
  assert any(wrong[n].shape != flat[n].shape for n in flat)


def test_query_key_and_value_lie_in_this_order(small_model, random_flat):
  flat = random_flat(small_model())
  block = "Transformer/encoderblock_1/MultiHeadDotProductAttention_0/"
  theirs = encode(flat)["blocks.1.attn.qkv.weight"]
  assert theirs.shape == (3 * 48, 48)
  np.testing.assert_array_equal(
      theirs[48:96].T.reshape(48, 4, 12), flat[block + "key/kernel"])


def test_what_timm_has_and_we_have_not(small_model, random_flat):
  theirs = encode(random_flat(small_model(pooling="gap")))
  unknown = {"blocks.0.attn.norm.weight": np.ones(48), "rope.x": np.ones(4)}
  assert unknown.keys() <= decode(theirs | unknown, 4).keys()


def test_what_we_have_and_timm_has_not(small_model, random_flat):
  flat = random_flat(small_model()) | {"other/kernel": np.ones((2, 2))}
  with pytest.raises(CheckpointError, match="other/kernel has no counterpart"):
    encode(flat)


def timm_model(name, size):
  """Returns timm's model of MODELS[name] for pictures of one size."""
  lib = oracle.import_timm()
  import torch
  arguments = dict(
      img_size=size, patch_size=4, embed_dim=48, depth=2, num_heads=4,
      mlp_ratio=64 / 48, num_classes=5, qkv_bias=name != "no_qkv_bias")
  if name == "features":
    arguments["num_classes"] = 0
  if name in ("gap", "map"):
    arguments |= dict(class_token=False, fc_norm=False,
                      global_pool={"gap": "avg", "map": "map"}[name])
  with torch.random.fork_rng():
    return lib.models.VisionTransformer(**arguments).eval()


def their_logits(model, images):
  import torch
  with torch.inference_mode():
    return model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


def our_logits(vit, images):
  return np.asarray(jax.jit(vit.model.apply)({"params": vit.params}, images)[0])


def pictures(height, width):
  rng = np.random.default_rng(1)
  return rng.uniform(-1, 1, (2, height, width, 3)).astype(np.float32)


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["cls", "gap"])
def test_timm_loads_what_we_save(tmp_path, small_model, random_flat, name):
  theirs = timm_model(name, 8)
  model = small_model(**MODELS[name])
  path = tmp_path / "model.npz"
  write_weights(path, random_flat(model), {"architecture": {"gelu": "erf"}})
  theirs.load_pretrained(path)
  images = pictures(8, 8)
  ours = our_logits(load(path), images)
  np.testing.assert_allclose(their_logits(theirs, images), ours, atol=ATOL)
  assert np.abs(ours[0] - ours[1]).max() > 1e-2  # they depend on the picture


@pytest.mark.oracle
@pytest.mark.parametrize("name, size", [
    ("cls", (8, 8)), ("cls", (12, 20)), ("gap", (8, 8)), ("map", (8, 8)),
    ("no_qkv_bias", (8, 8)), ("features", (8, 8))])
def test_safetensors_give_timm_the_same_logits(
    tmp_path, small_model, random_flat, name, size):
  reference = pytest.importorskip("safetensors.torch")
  theirs = timm_model(name, size)
  model = small_model(gelu="erf", **MODELS[name])
  path = tmp_path / "model.safetensors"
  description = {
      "architecture": {"num_heads": 4, "gelu": "erf"}, "image_size": size}
  write_weights(path, random_flat(model, size), description, "timm")
  theirs.load_state_dict(reference.load_file(path))
  vit = load(path)
  images = pictures(*size)
  ours = our_logits(vit, images)
  np.testing.assert_allclose(their_logits(theirs, images), ours, atol=ATOL)
  assert np.abs(ours[0] - ours[1]).max() > 1e-2


@pytest.mark.oracle
def test_what_timm_saves_gives_us_the_same_logits(tmp_path):
  torch = pytest.importorskip("torch")
  reference = pytest.importorskip("safetensors.torch")
  theirs = timm_model("cls", 8)
  with torch.random.fork_rng():
    torch.manual_seed(0)
    for value in theirs.parameters():
      torch.nn.init.normal_(value, std=0.2)
  path = tmp_path / "model.safetensors"
  reference.save_file(theirs.state_dict(), path)
  vit = load(path, num_heads=4)
  assert vit.model.gelu == "erf"
  images = pictures(8, 8)
  want = their_logits(theirs, images)
  np.testing.assert_allclose(our_logits(vit, images), want, atol=ATOL)
  tanh = vit.model.clone(gelu="tanh").apply({"params": vit.params}, images)[0]
  assert np.abs(tanh - want).max() > 3 * ATOL


@pytest.mark.oracle
@pytest.mark.parametrize("name, variant", [
    ("vit_tiny_r_s16_p8_224", "R+Ti/16"),
    ("vit_small_r26_s32_224", "R26+S/32")])
def test_hybrids_have_all_of_timms_parameters(random_flat, name, variant):
  from vit_jax.models.variants import make_model
  from vit_jax.weights import adapt

  lib = oracle.import_timm()
  import torch
  with torch.device("meta"):
    theirs = lib.create_model(name, num_classes=7).state_dict()
  model = make_model(variant=variant, num_classes=7, dtype="float32")
  shapes = adapt.expected_shapes(model, (224, 224))
  ours = encode(
      {n: np.broadcast_to(np.float32(0), s) for n, s in shapes.items()})
  assert {n: a.shape for n, a in ours.items()} == {
      n: tuple(a.shape) for n, a in theirs.items()}


def test_the_description_travels_inside(tmp_path, small_model, random_flat):
  flat = random_flat(small_model())
  path = tmp_path / "m.safetensors"
  description = {"architecture": {"num_heads": 4}, "step": 3}
  write_weights(path, trees.unflatten(flat), description, "timm")
  assert '"step": 3' in safetensors.read_safetensors(path)[1]["vit_jax"]

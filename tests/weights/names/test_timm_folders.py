"""Folders that timm opens by itself, and those that it wrote (oracle)."""

import json

import jax
import numpy as np
import oracle
import pytest

from vit_jax.weights import trees
from vit_jax.weights.convert import write_weights
from vit_jax.weights.formats import safetensors
from vit_jax.weights.load import load
from vit_jax.weights.names import timm
from vit_jax.weights.read import read_weights

ATOL = 2e-5
STEMS = {
    "R": ("vit_tiny_r_s16_p8_224", (), 8),
    "R26": ("vit_small_r26_s32_224", (2, 2, 2, 2), 1),
    "R50": ("vit_base_r50_s16_224", (3, 4, 9), 1),
}


def pictures(height, width):
  rng = np.random.default_rng(1)
  return rng.uniform(-1, 1, (2, height, width, 3)).astype(np.float32)


def run(model, params, images):
  return np.asarray(jax.jit(model.apply)({"params": params}, images)[0])


def their_logits(model, images):
  import torch
  with torch.inference_mode():
    return model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


def opened(folder):
  """Returns the model that timm makes of a folder alone."""
  lib = oracle.import_timm()
  return lib.create_model(f"local-dir:{folder}", pretrained=True).eval()


def uneven(flat):
  """Kernels of the stem whose channels differ in size, as trained ones do."""
  rng = np.random.default_rng(2)
  new = {}
  for name, array in flat.items():
    if timm._STANDARDISED.fullmatch(name):
      array = array * np.exp(rng.uniform(-6, 0, array.shape[-1])).astype("f4")
    if "gn" in name and name.endswith("scale"):
      array = array + np.float32(0.8)
    new[name] = array
  return new


@pytest.mark.oracle
@pytest.mark.parametrize("name, size, change", [
    ("cls", (8, 8), dict(gelu="tanh")), ("cls", (12, 20), dict()),
    ("gap", (8, 8), dict(pooling="gap", gelu="tanh")),
    ("gap", (12, 20), dict(pooling="gap")),
    ("map", (8, 8), dict(pooling="map", gelu="tanh")),
    ("features", (8, 8), dict(num_classes=0, qkv_bias=False))])
def test_timm_opens_what_we_write(
    tmp_path, small_model, random_flat, describe, name, size, change):
  model = small_model(**({"gelu": "erf"} | change))
  path = tmp_path / "model.safetensors"
  write_weights(path, random_flat(model, size), describe(model, size), "timm")
  theirs = opened(tmp_path)
  images, vit = pictures(*size), load(path)
  want = their_logits(theirs, images)
  got = run(vit.model, vit.params, images)
  np.testing.assert_allclose(got, want, atol=ATOL)
  assert np.abs(got[0] - got[1]).max() > 1e-2
  wrong = vit.model.clone(gelu={"erf": "tanh", "tanh": "erf"}[vit.model.gelu])
  assert np.abs(run(wrong, vit.params, images) - want).max() > ATOL


@pytest.mark.oracle
@pytest.mark.parametrize("name, side", [
    ("R", 64), pytest.param("R26", 64, marks=pytest.mark.slow),
    pytest.param("R", 32, marks=pytest.mark.thorough),
    pytest.param("R26", 96, marks=pytest.mark.thorough),
    pytest.param("R50", 32, marks=pytest.mark.thorough),
    pytest.param("R50", 48, marks=pytest.mark.thorough)])
def test_hybrids_give_timm_the_same_logits(
    tmp_path, small_model, random_flat, describe, name, side):
  architecture, units, patch = STEMS[name]
  size = (side, side)
  model = small_model(
      resnet=units, patch_size=(patch, patch), gelu="erf", depth=1)
  flat = uneven(random_flat(model, size))
  path = tmp_path / "model.safetensors"
  write_weights(path, flat, describe(model, size), "timm")
  assert json.loads((tmp_path / "config.json").read_text())[
      "architecture"] == architecture
  theirs = opened(tmp_path)
  images = pictures(*size)
  want = their_logits(theirs, images)
  released = run(model, trees.unflatten(flat), images)
  np.testing.assert_allclose(released, want, atol=ATOL)
  vit = load(path)
  assert vit.model.stem_eps == "timm"
  got = run(vit.model, vit.params, images)
  np.testing.assert_allclose(got, want, atol=ATOL)
  assert np.abs(got[0] - got[1]).max() > 1e-2
  # The same kernels with timm's epsilons are another network.
  wrong = run(vit.model, trees.unflatten(flat), images)
  assert np.abs(wrong - want).max() > 5 * ATOL


@pytest.mark.oracle
@pytest.mark.parametrize("name, arguments", [
    ("vit_tiny_patch16_224", dict(img_size=32, patch_size=8)),
    ("vit_base_patch16_gap_224", dict(img_size=48, num_heads=4)),
    ("vit_base_patch32_siglip_256", dict(img_size=64, num_heads=4)),
    ("vit_tiny_r_s16_p8_224", dict(img_size=64)),
    ("vit_small_r26_s32_224", dict(img_size=64))])
def test_we_open_what_timm_writes(tmp_path, name, arguments):
  lib = oracle.import_timm()
  import torch
  with torch.random.fork_rng():
    torch.manual_seed(0)
    theirs = lib.create_model(
        name, num_classes=3, depth=1, embed_dim=48, **{"num_heads": 3} |
        arguments).eval()
    for key, value in theirs.named_parameters():
      torch.nn.init.normal_(value, 1.0 * ("norm" in key), 0.1)
  lib.models.save_for_hf(theirs, tmp_path, safe_serialization=True, model_args={
      "num_heads": arguments.get("num_heads", 3)})
  vit = load(tmp_path / "model.safetensors")
  images = pictures(*vit.config["image_size"])
  want = their_logits(theirs, images)
  got = run(vit.model, vit.params, images)
  np.testing.assert_allclose(got, want, atol=ATOL)
  assert np.abs(got[0] - got[1]).max() > 1e-3
  assert vit.config["preprocess"].startswith("pil_crop({size}, 0.")


@pytest.mark.oracle
@pytest.mark.parametrize("height, width", [(37, 53), (53, 37), (90, 61)])
@pytest.mark.parametrize("mode, pct, method", [
    ("center", 0.9, "bicubic"), ("squash", 0.875, "bilinear"),
    ("center", 1.0, "lanczos")])
def test_pixels_are_those_of_timms_transform(height, width, mode, pct, method):
  lib = oracle.import_timm()
  from PIL import Image

  from vit_jax.data.preprocess import Preprocess

  half = (0.5, 0.5, 0.5)
  transform = lib.data.create_transform(
      (3, 24, 24), interpolation=method, crop_pct=pct, crop_mode=mode,
      mean=half, std=half)
  image = np.random.default_rng(0).integers(0, 256, (height, width, 3), "u1")
  want = transform(Image.fromarray(image)).numpy().transpose(1, 2, 0)
  squash = ", True" if mode == "squash" else ""
  ours = Preprocess(f'pil_crop({{size}}, {pct}, "{method}"{squash})', (24, 24))
  np.testing.assert_allclose(ours(image)[0], want, atol=1e-6)
  other = Preprocess(f"pil_crop({{size}}, {pct}, 'box'{squash})", (24, 24))
  assert np.abs(other(image)[0] - want).max() > 0.05


def test_the_stem_for_timm_is_the_same_network(small_model, random_flat):
  model = small_model(resnet=(1,), resnet_width=0.5, patch_size=(1, 1))
  flat = random_flat(model, (16, 16))
  flat = uneven(flat)
  new = timm.stem_for_timm(flat)
  assert {n for n in flat if (new[n] != flat[n]).any()} == {
      n for n in flat if timm._STANDARDISED.fullmatch(n)}
  for name in ("conv_root/kernel", "block1/unit1/conv2/kernel"):
    want, got = flat[name].astype("f8"), new[name].astype("f8")
    want = (want - want.mean((0, 1, 2))) / (want.std((0, 1, 2)) + 1e-5)
    seen = (got - got.mean((0, 1, 2))) / np.sqrt(got.var((0, 1, 2)) + 1e-8)
    np.testing.assert_allclose(seen, want, atol=1e-6)


def test_the_config_has_all_that_differs(
    tmp_path, small_model, random_flat, describe):
  model = small_model(pooling="gap", qkv_bias=False)
  write_weights(tmp_path / "model.safetensors", random_flat(model, (8, 12)),
        describe(model, (8, 12), class_names=list("abcde"),
                 preprocess="resize_small(16)|central_crop((8, 12))"), "timm")
  config = json.loads((tmp_path / "config.json").read_text())
  assert config["model_args"] == dict(
      img_size=[8, 12], patch_size=4, embed_dim=48, depth=2, num_heads=4,
      mlp_ratio=64 / 48, qkv_bias=False, num_classes=5, global_pool="avg",
      act_layer="gelu_tanh", class_token=False, fc_norm=False)
  assert config["pretrained_cfg"]["label_names"] == list("abcde")
  arrays, _ = safetensors.read_safetensors(tmp_path / "model.safetensors")
  (tmp_path / "model.json").unlink()
  safetensors.write_safetensors(tmp_path / "model.safetensors", arrays)
  file = read_weights(tmp_path / "model.safetensors")
  assert file.model() == model
  assert file.image_size == (8, 12)


def test_images_that_pytorch_prepares_otherwise_are_logged(
    tmp_path, small_model, random_flat, describe, caplog):
  model = small_model()
  write_weights(tmp_path / "model.safetensors", random_flat(model),
        describe(model, (8, 8), preprocess="resize_small(10)|central_crop(8)"),
        "timm")
  config = json.loads((tmp_path / "config.json").read_text())
  assert config["pretrained_cfg"]["crop_pct"] == 0.8
  assert config["pretrained_cfg"]["crop_mode"] == "center"
  assert "resize of the smaller side to 10x10 with antialiasing" in caplog.text


def test_a_stem_that_timm_has_not_gets_no_config(
    tmp_path, small_model, random_flat, describe, caplog):
  model = small_model(resnet=(1,), patch_size=(1, 1))
  write_weights(tmp_path / "model.safetensors", random_flat(model, (16, 16)),
        describe(model, (16, 16)), "timm")
  assert not (tmp_path / "config.json").exists()
  assert "no config.json was written" in caplog.text


def test_another_epsilon_is_logged(
    tmp_path, small_model, random_flat, describe, caplog):
  model = small_model(ln_eps=1e-12)
  write_weights(tmp_path / "model.safetensors", random_flat(model),
        describe(model, (8, 8)), "timm")
  assert "timm's LayerNorm has eps 1e-6, this model 1e-12" in caplog.text


def test_the_config_of_a_run_is_not_overwritten(
    tmp_path, small_model, random_flat, describe, caplog):
  (tmp_path / "config.json").write_text('{"config": {}}')
  model = small_model()
  write_weights(tmp_path / "model.safetensors", random_flat(model),
        describe(model, (8, 8)), "timm")
  assert "is the config of something else" in caplog.text
  assert (tmp_path / "config.json").read_text() == '{"config": {}}'
  assert load(tmp_path / "model.safetensors").model == model

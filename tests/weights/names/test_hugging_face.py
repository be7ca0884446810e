"""transformers' names, and transformers itself as the judge of logits."""

import json

import jax
import numpy as np
import oracle
import pytest

from vit_jax.errors import CheckpointError, UsageError
from vit_jax.weights.convert import convert, write_weights
from vit_jax.weights.formats import safetensors
from vit_jax.weights.load import load
from vit_jax.weights.names import hugging_face
from vit_jax.weights.names.codec import FileConfig
from vit_jax.weights.read import read_weights

ATOL = 2e-5
MODELS = {
    "head": dict(),
    "no_qkv_bias": dict(qkv_bias=False),
    "features": dict(num_classes=0),
    "pooler": dict(num_classes=0, pre_logits=48),
}


def encode(flat):
  return hugging_face.CODEC.encode(flat, {})[0]


def decode(theirs, num_heads):
  return hugging_face.CODEC.decode(
      theirs, FileConfig("f", "f", num_heads=num_heads))[0]


@pytest.mark.parametrize("name", MODELS)
def test_names_go_both_ways(small_model, random_flat, assert_same, name):
  flat = random_flat(small_model(depth=11, **MODELS[name]))
  theirs = encode(flat)
  assert hugging_face.CODEC.matches(theirs)
  got = decode(theirs, 4)
  assert_same({n: np.ascontiguousarray(a) for n, a in got.items()}, flat)
  assert any(n.startswith("vit.") for n in theirs) == ("head/kernel" in flat)
  wrong = decode(theirs, 2)
  assert any(wrong[n].shape != flat[n].shape for n in flat)


def test_what_transformers_has_and_we_have_not(
    small_model, random_flat, caplog):
  theirs = encode(random_flat(small_model()))
  theirs |= {"vit.embeddings.mask_token": np.zeros((1, 1, 48)),
             "decoder.0.weight": np.ones((3, 48, 1, 1)),
             "other.weight": np.ones((3, 48))}
  assert "other.weight" in decode(theirs, 4)  # a mismatch, to be reported
  selected = hugging_face.CODEC.select(list(theirs), "f")
  assert set(theirs) - set(selected) == {
      "vit.embeddings.mask_token", "decoder.0.weight"}
  assert "f: ignored vit.embeddings.mask_token" in caplog.text


@pytest.mark.parametrize("change, message", [
    (dict(pooling="gap", pre_logits=48), "no layer between body and head"),
    (dict(pooling="map"), "siglip_vision_model has no head, this model has"),
    (dict(posemb="none"), "has a learned position embedding"),
    (dict(pre_logits=48), "no layer between body and head.*--head=drop"),
    (dict(resnet=(), resnet_width=0.5, patch_size=(2, 2)), "no counterpart")])
def test_what_we_have_and_transformers_has_not(
    small_model, random_flat, change, message):
  with pytest.raises(CheckpointError, match=message):
    encode(random_flat(small_model(**change), (32, 32)))


def test_a_zero_head_behind_pre_logits_is_left_out_loudly(
    small_model, random_flat, caplog):
  flat = random_flat(small_model(pre_logits=48))
  flat["head/kernel"] = np.zeros_like(flat["head/kernel"])
  theirs = encode(flat)
  assert "pooler.dense.weight" in theirs
  assert not any("classifier" in name for name in theirs)
  assert "head of 5 classes, all zeros, was left out" in caplog.text


def test_without_a_config_its_defaults_hold(
    tmp_path, small_model, random_flat, caplog):
  path = tmp_path / "model.safetensors"
  model = small_model(width=192, num_heads=3)
  safetensors.write_safetensors(path, encode(random_flat(model)))
  file = read_weights(path)
  assert file.model() == model.clone(gelu="erf", ln_eps=1e-12)
  assert file.dialect == "hugging_face"
  assert "no file beside it describes how its images were prep" in caplog.text


def test_converting_writes_their_configs(
    tmp_path, small_model, random_flat, describe):
  model = small_model(gelu="erf", ln_eps=1e-12)
  src, dst = tmp_path / "m.npz", tmp_path / "out/model.safetensors"
  write_weights(src, random_flat(model), describe(model, (8, 8)) | {
      "class_names": list("abcde"),
      "preprocess": 'pil_resize({size}, "bicubic")'})
  assert convert(src, dst, "hugging_face") == "hugging_face"
  config = json.loads((tmp_path / "out/config.json").read_text())
  assert config["id2label"]["4"] == "e" and config["layer_norm_eps"] == 1e-12
  # Without our own description, theirs say the same.
  (tmp_path / "out/model.json").unlink()
  arrays, _ = safetensors.read_safetensors(dst)
  safetensors.write_safetensors(dst, arrays)
  file = read_weights(dst)
  assert file.model() == model
  assert file.metadata["class_names"] == list("abcde")
  assert file.metadata["preprocess"] == 'pil_resize({size}, "bicubic")'


def test_the_config_of_a_run_is_not_overwritten(
    tmp_path, small_model, random_flat, describe):
  (tmp_path / "config.json").write_text('{"config": {}}')
  model = small_model()
  with pytest.raises(UsageError, match="give it a folder of its own"):
    write_weights(tmp_path / "model.safetensors", random_flat(model),
          describe(model, (8, 8)), "hugging_face")
  assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def their_logits(model, images, **kwargs):
  import torch
  pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
  with torch.inference_mode():
    out = model(pixel_values=pixels, **kwargs)
  logits = getattr(out, "logits", None)
  return (out.pooler_output if logits is None else logits).numpy()


def pictures(height, width):
  rng = np.random.default_rng(1)
  return rng.uniform(-1, 1, (2, height, width, 3)).astype(np.float32)


def ours(vit, images):
  return np.asarray(jax.jit(vit.model.apply)({"params": vit.params}, images)[0])


@pytest.fixture(scope="session")
def lib():
  return oracle.import_transformers()


@pytest.mark.oracle
@pytest.mark.parametrize("name, size, gelu", [
    ("head", (8, 8), "erf"), ("head", (12, 20), "tanh"),
    ("no_qkv_bias", (8, 8), "erf"), ("pooler", (12, 12), "erf")])
def test_transformers_loads_what_we_write(
    tmp_path, small_model, random_flat, describe, lib, name, size, gelu):
  model = small_model(gelu=gelu, **MODELS[name])
  path = tmp_path / "model.safetensors"
  write_weights(
      path, random_flat(model, size), describe(model, size), "hugging_face")
  cls = lib.ViTModel if name == "pooler" else lib.ViTForImageClassification
  theirs, info = cls.from_pretrained(tmp_path, output_loading_info=True)
  assert not info["missing_keys"] and not info["unexpected_keys"]
  images = pictures(*size)
  got = ours(load(path), images)
  want = their_logits(theirs.eval(), images)
  np.testing.assert_allclose(got, want, atol=ATOL)
  assert np.abs(got[0] - got[1]).max() > 1e-2  # they depend on the picture
  other = load(path).model.clone(gelu={"erf": "tanh", "tanh": "erf"}[gelu])
  wrong = other.apply({"params": load(path).params}, images)[0]
  assert np.abs(wrong - want).max() > ATOL


@pytest.mark.oracle
@pytest.mark.parametrize("size", [8, (12, 20)])
def test_we_load_what_transformers_writes(tmp_path, lib, size):
  import torch
  config = lib.ViTConfig(
      hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
      intermediate_size=64, patch_size=4, image_size=size, num_labels=3,
      id2label={0: "cat", 1: "dog", 2: "owl"}, layer_norm_eps=1e-3)
  with torch.random.fork_rng():
    torch.manual_seed(0)
    theirs = lib.ViTForImageClassification(config).eval()
    for value in theirs.parameters():
      torch.nn.init.normal_(value, std=0.2)
  theirs.save_pretrained(tmp_path)
  vit = load(tmp_path / "model.safetensors")
  assert vit.class_names == ("cat", "dog", "owl")
  assert vit.config["image_size"] == ((8, 8) if size == 8 else size)
  images = pictures(*vit.config["image_size"])
  want = their_logits(theirs, images)
  np.testing.assert_allclose(ours(vit, images), want, atol=ATOL)
  # The epsilon is heeded, not only the names.
  wrong = vit.model.clone(ln_eps=1e-6).apply({"params": vit.params}, images)[0]
  assert np.abs(wrong - want).max() > 10 * ATOL


@pytest.mark.oracle
@pytest.mark.parametrize("resample", [2, 3])
def test_pixels_are_those_of_its_processor(
    tmp_path, small_model, random_flat, lib, resample):
  vit_lib = pytest.importorskip(
      "transformers.models.vit.image_processing_pil_vit")
  processor = vit_lib.ViTImageProcessorPil(
      size={"height": 8, "width": 12}, resample=resample)
  processor.save_pretrained(tmp_path)
  path = tmp_path / "model.safetensors"
  safetensors.write_safetensors(path, encode(random_flat(
      small_model(width=192, num_heads=3), (8, 8))))
  vit = load(path, image_size=(8, 12))
  image = np.random.default_rng(0).integers(0, 256, (37, 23, 3), np.uint8)
  want = processor(images=image, return_tensors="np")["pixel_values"]
  got = vit.preprocess([image])
  np.testing.assert_allclose(got, want.transpose(0, 2, 3, 1), atol=1e-6)
  assert np.abs(got - load(path, image_size=(8, 12), preprocess=(
      "resize({size})")).preprocess([image])).max() > 0.1

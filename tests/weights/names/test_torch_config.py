"""What lies beside the weights of timm and transformers is used."""

import json

import jax
import numpy as np
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.weights.formats import safetensors
from vit_jax.weights.load import load
from vit_jax.weights.names import pixel_statistics, timm_config
from vit_jax.weights.names.codecs import codec_named
from vit_jax.weights.read import read_weights

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
HALF = dict(image_mean=[0.5] * 3, image_std=[0.5] * 3)
TIMM = dict(architecture="vit_tiny_patch16_224", num_classes=5,
            model_args=dict(num_heads=4), pretrained_cfg=dict(
                input_size=[3, 8, 8], mean=[0.5] * 3, std=[0.5] * 3,
                crop_pct=0.9, interpolation="bicubic"))


@pytest.fixture
def theirs(tmp_path, small_model, random_flat):
  """Returns a function that writes a file of another library, with configs."""

  def make(dialect, config=None, processor=None, **changes):
    flat = random_flat(small_model(**changes), (32, 32))
    arrays, _ = codec_named(dialect).encode(flat, {"stem_eps": "timm"})
    path = tmp_path / "model.safetensors"
    safetensors.write_safetensors(path, arrays)
    for name, content in (
        ("config", config), ("preprocessor_config", processor)):
      if content is not None:
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return path

  return make


def hugging(**changes):
  return dict(model_type="vit", num_attention_heads=4) | changes


def test_their_words_in_ours(theirs):
  path = theirs("hugging_face", hugging(
      layer_norm_eps=1e-5, hidden_act="gelu_pytorch_tanh", image_size=32,
      id2label={str(i): x for i, x in enumerate("abcde")}),
      HALF | dict(size={"height": 32, "width": 32}, resample=3))
  file = read_weights(path)
  assert file.architecture["ln_eps"] == 1e-5
  assert file.architecture["gelu"] == "tanh"
  assert file.metadata["class_names"] == list("abcde")
  assert file.metadata["preprocess"] == 'pil_resize({size}, "bicubic")'


def test_the_processor_of_a_model_with_text(theirs):
  path = theirs("hugging_face", hugging(), HALF | dict(resample=2))
  (path.parent / "processor_config.json").write_text(json.dumps({
      "image_processor": HALF | dict(
          image_processor_type="CLIPImageProcessorPil", size=8, crop_size=8),
      "processor_class": "CLIPProcessor"}))
  assert read_weights(path).metadata["preprocess"] == (
      'pil_crop({size}, 1.0, "bicubic", False, True)')
  (path.parent / "processor_config.json").write_text(
      '{"processor_class": "CLIPProcessor"}')
  assert read_weights(path).metadata["preprocess"] == (
      'pil_resize({size}, "bilinear")')


def test_label_numbers_are_no_names(theirs):
  path = theirs("hugging_face", hugging(
      id2label={str(i): f"LABEL_{i}" for i in range(5)}))
  assert load(path).class_names is None


def test_a_crop(theirs):
  path = theirs("hugging_face", hugging(), HALF | dict(
      size={"shortest_edge": 256}, do_center_crop=True, crop_size=224))
  assert read_weights(path).metadata["preprocess"] == (
      'pil_crop({size}, 0.875, "bilinear", False, True)')


@pytest.mark.parametrize("config, processor, message", [
    (dict(hidden_act="relu6"), None, "activation 'relu6' is not one"),
    (dict(pooler_act="relu"), None, "pooler_act='relu'"),
    (dict(num_attention_heads=5), None, "num_heads="),
    (dict(image_size=64), None, "which is 16x16 patches, but 64 in the arr"),
    (dict(id2label={"0": "a"}), None, "class_names are 1, but 5 in the arrays"),
    ({}, dict(do_rescale=False), "not rescaled by 1/255"),
    ({}, dict(resample=9), "resample=9"),
    ({}, dict(size={"shortest_edge": 32}), "images of any size"),
    ({}, dict(image_mean=[0.5]), "one number for each of three channels"),
    (dict(image_size="big"), None, "not as hugging_face writes it")])
def test_what_cannot_be_done_is_refused(theirs, config, processor, message):
  path = theirs("hugging_face", hugging(**config), processor)
  with pytest.raises(CheckpointError, match=message) as error:
    load(path)
  assert "\n" not in str(error.value)


def test_a_broken_config_is_named(theirs, tmp_path):
  path = theirs("timm")
  for text, message in (("{", "cannot be read"), ("[]", "found list")):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=rf"config.json: .*{message}"):
      read_weights(path)


def test_the_config_of_a_run_says_nothing_here(theirs, tmp_path):
  path = theirs("timm", {"config": {}, "commit": "1234"})
  assert read_weights(path, num_heads=4).metadata["architecture"] == {
      "gelu": "erf", "ln_eps": 1e-6, "stem_eps": "timm"}


def test_timms_pictures_and_heads(theirs):
  # 8 x 8 in the config is another size than its own.
  file = read_weights(theirs("timm", TIMM))
  assert file.architecture["num_heads"] == 4
  assert file.image_size == (32, 32)
  assert file.metadata["preprocess"] == 'pil_crop({size}, 0.9, "bicubic")'


@pytest.mark.parametrize("name, gelu", [
    ("vit_base_patch16_siglip_224", "erf"),
    ("vit_base_patch32_siglip_256", "tanh"),
    ("vit_so400m_patch16_siglip_gap_384", "tanh")])
def test_timms_activation_is_in_its_name(theirs, name, gelu):
  path = theirs("timm", TIMM | {"architecture": name})
  assert read_weights(path).architecture["gelu"] == gelu


@pytest.mark.parametrize("change, message", [
    ({"architecture": "beit3_base_patch16_224"}, "a LayerNorm inside of att"),
    ({"global_pool": "avgmax"}, "pooling is avgmax, but cls in the arrays"),
    ({"model_args": {"num_heads": 4, "act_layer": "relu"}}, "'relu'")])
def test_what_timm_has_and_we_have_not(theirs, change, message):
  with pytest.raises(CheckpointError, match=message):
    read_weights(theirs("timm", TIMM | change))


@pytest.mark.parametrize("dialect", ["timm", "hugging_face"])
def test_other_means_are_folded_into_the_weights(theirs, dialect, caplog):
  plain = load(theirs(dialect), num_heads=4)
  if dialect == "timm":
    cfg = TIMM["pretrained_cfg"] | dict(mean=MEAN, std=STD)
    path = theirs(dialect, TIMM | {"pretrained_cfg": cfg})
  else:
    path = theirs(dialect, hugging(layer_norm_eps=1e-12),
                  dict(image_mean=MEAN, image_std=STD))
  vit = load(path)
  assert "were folded into the patch embedding" in caplog.text
  pixels = np.random.default_rng(0).random((2, 32, 32, 3))
  seen = ((pixels - MEAN) / STD).astype(np.float32)
  want = plain.model.apply({"params": plain.params}, seen)[0]
  apply = jax.jit(vit.model.apply)
  got = apply({"params": vit.params}, (2 * pixels - 1).astype(np.float32))[0]
  np.testing.assert_allclose(got, want, atol=2e-5)
  assert np.abs(apply({"params": vit.params}, seen)[0] - want).max() > 1e-2


def test_a_hybrid_with_other_means_is_refused(theirs):
  cfg = TIMM["pretrained_cfg"] | dict(mean=MEAN, std=STD)
  path = theirs("timm", TIMM | {"pretrained_cfg": cfg}, resnet=(),
                resnet_width=0.5, patch_size=(2, 2))
  with pytest.raises(CheckpointError, match="only the weights of a plain ViT"):
    read_weights(path)


def test_nothing_is_changed_where_nothing_differs(small_model, random_flat):
  flat = random_flat(small_model())
  same = pixel_statistics.absorb_pixel_statistics(flat, (0.5,) * 3, (0.5,) * 3)
  assert all(same[name] is flat[name] for name in flat)


def test_silent_timm_means_its_default_mean(tmp_path):
  (tmp_path / "config.json").write_text(
      json.dumps({"architecture": "vit_tiny_patch16_224"}))
  config = timm_config.read_config(tmp_path / "model.safetensors", {})
  assert list(config.mean) == MEAN and list(config.std) == STD

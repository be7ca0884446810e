"""Families of ViTs give what timm and transformers give, both directions."""

import json

import family_cases as cases
import numpy as np
import oracle
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.weights.convert import convert, write_weights
from vit_jax.weights.formats import safetensors
from vit_jax.weights.load import init_params, load
from vit_jax.weights.names.codec import FileConfig
from vit_jax.weights.names.codecs import codec_named
from vit_jax.weights.read import read_weights

OPTIONS = {
    "registers": dict(registers=2), "gated": dict(gated=True),
    "distilled": dict(registers=1, distilled=True),
    "layer_scale": dict(layer_scale=True), "pooled": dict(final_norm="pooled"),
    "map": dict(pooling="map", registers=1), "none": dict(final_norm="none"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_timms_names_go_both_ways(small_model, random_flat, assert_same, name):
  flat = random_flat(small_model(depth=11, **OPTIONS[name]))
  codec = codec_named("timm")
  theirs, _ = codec.encode(flat, {})
  assert not any("/" in key for key in theirs)
  pooling = {"pooled": {"pooling": "cls"}, "map": {"pooling": "map"}}
  got, _ = codec.decode(theirs, FileConfig("f", "f", num_heads=4, metadata={
      "architecture": pooling.get(name, {})}))
  assert_same({n: np.ascontiguousarray(a) for n, a in got.items()}, flat)


@pytest.mark.parametrize("options", [
    *OPTIONS.values(), dict(pre_norm=True, gelu="quick"),
    dict(pooling="cls_gap")], ids=str)
@pytest.mark.parametrize("layout", ["released", "linen", "big_vision"])
def test_our_files_keep_every_part(
    tmp_path, small_model, random_flat, describe, options, layout):
  model, path = small_model(**options), tmp_path / "model.npz"
  write_weights(path, random_flat(model), describe(model, (8, 8)), layout)
  assert read_weights(path).model() == model
  path.with_suffix(".json").unlink()
  assert read_weights(path).model() == model  # said inside, too


@pytest.mark.parametrize("dialect, options, message", [
    ("timm", dict(pooling="cls_gap"), "no head on class token and average"),
    ("timm", dict(registers=2, distilled=True), "no registers beside"),
    ("hugging_face", dict(registers=2), "no registers in such a model"),
    ("hugging_face", dict(gated=True), "transformers' vit has no gated"),
    ("hugging_face", dict(pre_norm=True), "projection has no bias"),
    ("hugging_face", dict(layer_scale=True), "has an MLP of 48 for a width"),
    ("hugging_face", dict(final_norm="pooled"), "LayerNorm after the blocks")])
def test_what_a_library_has_not_is_refused_by_name(
    tmp_path, small_model, random_flat, describe, dialect, options, message):
  model, path = small_model(**options), tmp_path / "model.safetensors"
  with pytest.raises(CheckpointError, match=message):
    write_weights(path, random_flat(model), describe(model, (8, 8)), dialect)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dialect", ["timm", "hugging_face", "torchvision"])
@pytest.mark.parametrize("options, words", [
    (dict(posemb_at="layers_shared"), "no positions of the kind '1d' at 'lay"),
    (dict(posemb="rope2d"), "position"), (dict(posemb="sincos2d"), "position"),
    (dict(posemb="rope2d_unit"), "position|DINOv3's")])
def test_positions_that_a_library_has_not_are_refused(
    tmp_path, small_model, random_flat, describe, dialect, options, words):
  model = small_model(**options)
  path = tmp_path / "model.safetensors"
  with pytest.raises(CheckpointError, match=words):
    write_weights(path, random_flat(model), describe(model, (8, 8)), dialect)
  assert not path.exists()


@pytest.mark.oracle
def test_timm_without_positions(tmp_path, small_model, random_flat, describe):
  model = small_model(posemb="none", gelu="erf")
  path = tmp_path / "model.safetensors"
  write_weights(path, random_flat(model, (8, 12)), describe(
      model, (8, 12), preprocess="resize({size})"), "timm")
  images = cases.pictures((8, 12))
  want = cases.run_timm(cases.open_timm(tmp_path), images)
  assert cases.difference(cases.ours(path, images), want) <= cases.TOLERANCE


DINOV3 = dict(posemb="rope2d_unit", registers=4, layer_scale=True,
              num_classes=0, ln_eps=1e-5, gelu="erf")


def test_keys_of_timms_dinov3_have_no_bias(
    tmp_path, small_model, random_flat, describe):
  model = small_model(**DINOV3)
  with pytest.raises(CheckpointError, match="keys of timm's DINOv3 have no b"):
    write_weights(tmp_path / "model.safetensors", random_flat(model),
                  describe(model, (8, 8)), "timm")


def test_a_dinov3_whose_keys_have_biases(
    tmp_path, small_model, random_flat, describe):
  oracle.import_transformers()
  import transformers
  model = small_model(**DINOV3)
  path = tmp_path / "model.safetensors"
  write_weights(path, random_flat(model), describe(
      model, (8, 8), preprocess="resize({size})"), "hugging_face")
  theirs = transformers.DINOv3ViTModel.from_pretrained(tmp_path).eval()
  images = cases.pictures((8, 8))
  want = cases.run_hugging_face(theirs, images)
  assert cases.difference(cases.ours(path, images), want) <= cases.TOLERANCE


@pytest.mark.parametrize("change, words", [
    (dict(rope_theta=1000.0), "rope_theta=1000.0"),
    (dict(use_gated_mlp=True), "hidden_act='gelu'"),
    (dict(hidden_act="relu"), "activation 'relu'")])
def test_another_dinov3_is_refused(
    tmp_path, small_model, random_flat, change, words):
  arrays = codec_named("hugging_face").encode(
      random_flat(small_model(**DINOV3)), DINOV3)[0]
  safetensors.write_safetensors(tmp_path / "model.safetensors", arrays)
  config = dict(model_type="dinov3_vit", num_attention_heads=4)
  (tmp_path / "config.json").write_text(json.dumps(config))
  assert read_weights(
      tmp_path / "model.safetensors").architecture["posemb"] == "rope2d_unit"
  (tmp_path / "config.json").write_text(json.dumps(config | change))
  with pytest.raises(CheckpointError, match=words):
    read_weights(tmp_path / "model.safetensors")


@pytest.mark.oracle
@pytest.mark.parametrize("family", cases.TIMM)
@pytest.mark.parametrize("other", [
    pytest.param(False, marks=pytest.mark.thorough), True])
def test_timm(tmp_path, family, other):
  _, arguments, elsewhere = cases.TIMM[family]
  side = arguments["img_size"]
  size = elsewhere if other else (side, side)
  theirs = cases.make_timm(family, size, tmp_path)
  found = cases.there_and_back(
      theirs, tmp_path, cases.pictures(size), cases.run_timm, "timm",
      cases.open_timm)
  assert max(found) <= cases.TOLERANCE, found


@pytest.mark.oracle
@pytest.mark.parametrize("family", cases.HUGGING_FACE)
@pytest.mark.parametrize("other", [
    pytest.param(False, marks=pytest.mark.thorough), True])
def test_transformers(tmp_path, family, other):
  size = cases.elsewhere_of(family) if other else (8, 8)
  side = size[0] if size[0] == size[1] else size
  theirs = cases.make_hugging_face(family, side, tmp_path)
  # What from_pretrained returns is in evaluation.
  written = (None if family in cases.READ_ONLY
             else type(theirs).from_pretrained)
  found = cases.there_and_back(
      theirs, tmp_path, cases.pictures(size), cases.run_hugging_face,
      "hugging_face", written)
  assert max(found) <= cases.TOLERANCE, found


@pytest.mark.oracle
def test_transformers_timm_wrapper(tmp_path):
  lib = oracle.import_transformers()
  timm = oracle.import_timm()
  model = lib.TimmWrapperForImageClassification(lib.TimmWrapperConfig(
      architecture="deit3_small_patch16_224", num_labels=3,
      model_args=dict(img_size=32, embed_dim=48, depth=1, num_heads=4),
      pretrained_cfg=timm.create_model(
          "test_vit", pretrained=False).pretrained_cfg | dict(
              mean=(0.5,) * 3, std=(0.5,) * 3)))
  cases.randomise(model).save_pretrained(tmp_path)
  images = cases.pictures((32, 32))
  want = cases.run_hugging_face(model, images)
  assert cases.difference(cases.ours(tmp_path, images), want) <= (
      cases.TOLERANCE)


@pytest.mark.oracle
def test_a_mae_with_its_decoder_and_towers_with_their_text(tmp_path, caplog):
  lib = oracle.import_transformers()
  import torch
  sizes = dict(hidden_size=48, num_hidden_layers=1, num_attention_heads=4,
               intermediate_size=96, image_size=8, patch_size=4)
  images = cases.pictures((8, 8))
  pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
  mae = cases.randomise(lib.ViTMAEForPreTraining(lib.ViTMAEConfig(
      **sizes, mask_ratio=0.0, decoder_hidden_size=16,
      decoder_num_attention_heads=2, decoder_num_hidden_layers=1)))
  mae.save_pretrained(tmp_path / "mae")
  with torch.inference_mode():
    want = mae.vit(pixels).last_hidden_state[:, 0].numpy()
  assert cases.difference(
      cases.ours(tmp_path / "mae", images), want) <= cases.TOLERANCE
  text = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
              intermediate_size=16, vocab_size=50)
  for kind in ("CLIP", "Siglip"):
    config = getattr(lib, f"{kind}Config")(
        text_config=text, vision_config=sizes)
    both = cases.randomise(getattr(lib, f"{kind}Model")(config))
    both.save_pretrained(tmp_path / kind)
    with torch.inference_mode():
      out = both.get_image_features(pixels)
    want = getattr(out, "pooler_output", out).numpy()
    assert cases.difference(
        cases.ours(tmp_path / kind, images), want) <= cases.TOLERANCE
  assert "which pre-training or another tower uses" in caplog.text


def test_a_projection_that_is_no_clips_is_refused(
    tmp_path, small_model, random_flat, describe):
  model = small_model(pre_norm=True, gelu="quick", ln_eps=1e-5)
  path = tmp_path / "model.npz"
  write_weights(path, random_flat(model), describe(model, (8, 8)))
  with pytest.raises(CheckpointError, match="projection has no bias"):
    convert(path, tmp_path / "x" / "model.safetensors", "hugging_face")
  assert not (tmp_path / "x").exists()


def test_fine_tuning_names_the_parts_that_are_missing(
    tmp_path, small_model, random_flat, describe):
  model = small_model(registers=4, layer_scale=True)
  path = tmp_path / "model.npz"
  write_weights(path, random_flat(model), describe(model, (8, 8)))
  with pytest.raises(CheckpointError, match=(
      "set --config.model.registers=4 --config.model.layer_scale=True")):
    init_params(path, small_model(num_classes=3), (8, 8))
  _, report = init_params(path, model.clone(num_classes=3), (8, 12))
  assert report.head == "reset" and report.resized


def test_a_new_head_replaces_both(tmp_path, small_model, random_flat, describe):
  model = small_model(registers=1, distilled=True)
  path = tmp_path / "model.npz"
  write_weights(path, random_flat(model), describe(model, (8, 8)))
  params, _ = init_params(path, model.clone(num_classes=3), (8, 8))
  assert params["head_dist"]["kernel"].shape == (48, 3)
  params, _ = init_params(
      path, model.clone(num_classes=3, distilled=False), (8, 8))
  assert "head_dist" not in params
  assert "head_dist" not in load(path, num_classes=0).params

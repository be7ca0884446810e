"""What lies beside the arrays counts key by key; what is assumed is said."""

import json

import numpy as np
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.weights.convert import convert, write_weights
from vit_jax.weights.formats import safetensors
from vit_jax.weights.load import load
from vit_jax.weights.model_json import write_model_json
from vit_jax.weights.names import timm_models
from vit_jax.weights.names.codecs import codec_named
from vit_jax.weights.posemb_grid import POSEMB
from vit_jax.weights.read import read_weights

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TIMM = dict(
    architecture="vit_tiny_patch16_224", model_args=dict(num_heads=4),
    pretrained_cfg=dict(input_size=[3, 8, 8], mean=MEAN, std=STD,
                        crop_pct=0.9, interpolation="bicubic"))
HUGGING = dict(model_type="vit", num_attention_heads=6, layer_norm_eps=1e-3,
               hidden_act="gelu_new", image_size=8)
PROCESSOR = dict(
    image_processor_type="ViTImageProcessor", image_mean=MEAN, image_std=STD,
    size={"height": 8, "width": 8}, resample=3)


@pytest.fixture
def theirs(tmp_path, small_model, random_flat):
  """Returns a function that writes a file of another library, with configs."""

  def make(dialect, config=None, processor=None, size=(8, 8), edit=dict,
           **changes):
    flat = random_flat(small_model(**changes), size)
    arrays = edit(codec_named(dialect).encode(flat, {})[0])
    path = tmp_path / "model.safetensors"
    safetensors.write_safetensors(path, arrays)
    for name, content in (
        ("config", config), ("preprocessor_config", processor)):
      if content is not None:
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return path

  return make


@pytest.mark.parametrize("dialect, config, processor", [
    ("timm", TIMM, None), ("hugging_face", HUGGING, PROCESSOR)])
def test_a_model_json_replaces_only_what_it_states(
    theirs, assert_same, dialect, config, processor):
  path = theirs(dialect, config, processor)
  want = read_weights(path)
  write_model_json(path, {"class_names": list("abcde"), "image_size": None,
                          "architecture": {"ln_eps": 0.05}})
  got = read_weights(path)
  assert got.metadata["class_names"] == list("abcde")
  assert got.model() == want.model(ln_eps=0.05)
  assert got.metadata["preprocess"] == want.metadata["preprocess"]
  assert_same(got.flat, want.flat)  # mean and deviation are folded as before
  write_model_json(path, {"value_range": [-1, 1]})  # what this package writes
  assert not np.array_equal(
      read_weights(path, num_heads=4).flat["embedding/kernel"],
      want.flat["embedding/kernel"])


def test_what_we_wrote_ignores_what_lies_beside(
    tmp_path, small_model, random_flat, describe):
  path = tmp_path / "model.safetensors"
  model = small_model(gelu="erf")
  write_weights(path, random_flat(model), describe(model, (8, 8)), "timm")
  (tmp_path / "model.json").unlink()
  (tmp_path / "config.json").write_text(json.dumps(TIMM))
  got = read_weights(path)
  np.testing.assert_array_equal(
      got.flat["embedding/kernel"], random_flat(model)["embedding/kernel"])
  write_model_json(path, {"class_names": list("abcde")})
  assert read_weights(path).model() == got.model() == model


def test_heads_that_are_assumed_are_said(theirs, caplog):
  path = theirs("timm", width=768, num_heads=8, depth=1)
  assert read_weights(path).model().num_heads == 12
  assert "12 attention heads assumed" in caplog.text
  assert "--num_heads=" in caplog.text
  caplog.clear()
  assert read_weights(path, num_heads=8).model().num_heads == 8
  assert "assumed, as models of width" not in caplog.text


@pytest.mark.parametrize("name, width, heads", [
    ("vit_base_patch16_gap_224", 768, 16), ("vit_base_patch16_224", 768, 12),
    ("vit_so400m_patch14_siglip_384", 1152, 16), ("test_vit3", 96, 3),
    ("vit_base_patch16_plus_240", 896, 14),
    ("deit3_large_patch16_384", 1024, 16),
    ("vit_small_patch16_224", 768, None), ("own_model", 768, None)])
def test_heads_of_timms_names(name, width, heads):
  facts = timm_models.facts(name, width) or {}
  assert facts.get("num_heads") == heads


def test_a_name_of_timm_gives_the_heads_without_a_word(theirs, caplog):
  config = TIMM | dict(architecture="vit_base_patch16_gap_224", model_args={},
                       global_pool="avg")
  path = theirs("timm", config, width=768, num_heads=16, depth=1, pooling="gap")
  assert read_weights(path).model().num_heads == 16
  assert "assumed" not in caplog.text


@pytest.mark.parametrize("kind, eps", [
    ("vit", 1e-12), ("vit_mae", 1e-12), ("vit_msn", 1e-6)])
def test_types_that_share_vits_names(theirs, kind, eps):
  config = dict(model_type=kind, num_attention_heads=4, hidden_act="gelu_new",
                problem_type="multi_label_classification")
  file = read_weights(theirs("hugging_face", config))
  assert (file.architecture["ln_eps"], file.architecture["gelu"],
          file.model().num_heads) == (eps, "tanh", 4)
  assert file.metadata["loss"] == "sigmoid"


@pytest.mark.parametrize("kind", ["flava", "dpt", "vit_hybrid"])
def test_other_types_are_refused_by_name(theirs, kind):
  path = theirs("hugging_face", HUGGING | dict(model_type=kind))
  with pytest.raises(CheckpointError, match=f"model_type='{kind}' is not a"):
    read_weights(path)


@pytest.mark.parametrize("name, arguments, why", [
    ("vit_base_patch16_rpn_224", {}, "LayerNorm behind"),
    ("vit_tiny_patch16_224", {"norm_layer": "rmsnorm"}, "norm_layer='rmsnorm'"),
    ("vit_base_patch16_xp_224", {}, "parallel")])
def test_what_leaves_no_trace_is_refused_by_name(theirs, name, arguments, why):
  config = TIMM | dict(
      architecture=name, model_args={"num_heads": 4} | arguments)
  with pytest.raises(CheckpointError, match=why):
    read_weights(theirs("timm", config))


def test_names_of_a_classifier_in_a_model_without_one(theirs):
  config = HUGGING | dict(id2label={"0": "cat", "1": "dog"})
  file = read_weights(theirs("hugging_face", config, num_classes=0))
  assert "class_names" not in file.metadata


@pytest.mark.parametrize("size", [(12, 20), (8, 16), (24, 40)])
@pytest.mark.parametrize("embed_class", [True, False])
def test_the_class_tokens_row_follows_from_the_size(
    theirs, caplog, size, embed_class):
  def edit(arrays):
    if not embed_class:
      arrays["pos_embed"] = arrays["pos_embed"][:, 1:]
    return arrays

  rows, cols = size[0] // 4, size[1] // 4
  config = TIMM | dict(model_args=dict(num_heads=4, img_size=list(size)))
  path = theirs("timm", config, size=size, edit=edit)
  assert read_weights(path).grid() == (rows, cols)
  (path.parent / "config.json").unlink()
  for said in (dict(old_grid=(rows, cols)), dict(wanted_size=size)):
    file = read_weights(path, num_heads=4, **said)
    assert file.grid() == (rows, cols)
    assert file.flat[POSEMB].shape[1] == rows * cols + 1
    assert file.flat[POSEMB][:, 0].any() == embed_class
  assert "are taken for a grid" not in caplog.text
  report = load(path, num_heads=4, image_size=size).config["report"]
  assert report.resized is None


def test_a_guess_of_the_grid_is_said(theirs, caplog):
  path = theirs("timm", size=(12, 20))  # 3 x 5 and one row: 16
  assert read_weights(path, num_heads=4).grid() == (4, 4)
  assert "taken for a grid of 4x4 without one for the class" in caplog.text


def test_whole_numbers_are_no_parameters(theirs):
  def quantised(arrays):
    return {name: a.astype(np.int8) if name == "blocks.0.attn.qkv.weight"
            else a for name, a in arrays.items()}

  path = theirs("timm", edit=quantised)
  with pytest.raises(CheckpointError, match="whole numbers .int8.*quantised"):
    read_weights(path, num_heads=4)


def test_nothing_is_converted_that_cannot_be_read_back(theirs, tmp_path):
  path = theirs("timm", edit=lambda arrays: arrays | {
      "blocks.0.attn.sink": np.ones(4, np.float32)})
  with pytest.raises(CheckpointError, match=r"unknown to the model: blocks\.0"):
    convert(path, tmp_path / "x.npz", num_heads=4)
  assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize("prefix", [
    "module.", "_orig_mod.", "module._orig_mod.", "backbone.", "timm_model."])
@pytest.mark.parametrize("dialect", ["timm", "hugging_face"])
def test_what_a_wrapper_adds_is_removed(
    theirs, caplog, assert_same, prefix, dialect):
  want = read_weights(theirs(dialect), num_heads=4)
  path = theirs(dialect, edit=lambda arrays: {
      prefix + name: a for name, a in arrays.items()})
  assert_same(read_weights(path, num_heads=4).flat, want.flat)
  assert f"{prefix!r} before every name was removed" in caplog.text


@pytest.mark.parametrize("names, words", [
    (["backbone.patch_embed.proj.weight", "neck.conv.weight"],
     r"a Vision Transformer below 'backbone.' \(OpenMMLab.*beside neck"),
    (["layers.0.blocks.0.attn.relative_position_bias_table"], "a Swin Transf"),
    (["layer1.0.conv1.weight"], "a ResNet of PyTorch"),
    (["x"], "give the weights of a ViT")])
def test_what_is_no_network_is_named(tmp_path, names, words):
  path = tmp_path / "m.safetensors"
  safetensors.write_safetensors(
      path, {name: np.ones((2, 2), np.float32) for name in names})
  with pytest.raises(CheckpointError, match=words):
    read_weights(path)


def test_several_files_with_an_index(theirs, tmp_path, assert_same):
  path = theirs("hugging_face", HUGGING, PROCESSOR)
  want = read_weights(path)
  arrays, _ = safetensors.read_safetensors(path)
  path.unlink()
  names = [f"model-{i:05}-of-00003.safetensors" for i in (1, 2, 3)]
  places = {name: names[i % 3] for i, name in enumerate(arrays)}
  for name in names:
    safetensors.write_safetensors(tmp_path / name, {
        key: a for key, a in arrays.items() if places[key] == name})
  index = tmp_path / "model.safetensors.index.json"
  index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
  file = read_weights(index)
  assert_same(file.flat, want.flat)
  assert file.model() == want.model()
  assert load(tmp_path).config["source"] == str(index)
  with pytest.raises(CheckpointError, match="one of 3 files that make one"):
    read_weights(tmp_path / names[0])
  (tmp_path / names[1]).unlink()
  with pytest.raises(CheckpointError, match="1 of its 3 files are missing"):
    read_weights(index)


@pytest.mark.parametrize("processor, want", [
    (dict(size=12, do_center_crop=True, crop_size=8), 'pil_crop({size}, 0.66'),
    (dict(size=12, feature_extractor_type="CLIPFeatureExtractor"), "to 224x"),
    (dict(image_processor_type="ConvNextImageProcessor"), "ConvNextImagePro"),
    (dict(resample=9), "resample=9"), (dict(do_pad=True), "do_pad=True"),
    (dict(size={"shortest_edge": 8}), "leaves images of any size"),
    (dict(size={"longest_edge": 8}), "size={'longest_edge': 8} is unknown")])
def test_processors_are_exact_or_refused(theirs, processor, want):
  path = theirs("hugging_face", HUGGING, processor)
  file = read_weights(path)
  said = file.metadata.get("preprocess", "") + file.unprepared
  assert want in said
  if file.unprepared:
    with pytest.raises(CheckpointError, match="pass preprocess="):
      load(path)
    assert load(path, preprocess="resize({size})")


def test_timms_unusual_crops_are_refused(theirs):
  path = theirs("timm", TIMM | {"pretrained_cfg": TIMM["pretrained_cfg"] | {
      "crop_mode": "border"}})
  with pytest.raises(CheckpointError, match="crop_mode=border"):
    load(path)


@pytest.mark.parametrize("mean", [[0.5], [0.5] * 4])
def test_a_config_for_images_of_other_channels_is_refused(theirs, mean):
  pixels = dict(input_size=[len(mean), 8, 8], mean=mean, std=mean)
  path = theirs("timm", TIMM | dict(
      pretrained_cfg=TIMM["pretrained_cfg"] | pixels))
  with pytest.raises(CheckpointError, match="images of . channels; one number"):
    read_weights(path)

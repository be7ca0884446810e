"""OpenCLIP's image towers, compared with timm's reading of the same arrays."""

import json

import family_cases as cases
import numpy as np
import oracle
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.weights.convert import convert
from vit_jax.weights.formats import safetensors
from vit_jax.weights.load import load
from vit_jax.weights.names.codecs import CODECS
from vit_jax.weights.read import read_weights

WIDTH, SIDE, PATCH, OUT = 128, 64, 32, 24
VISION = dict(image_size=SIDE, layers=2, width=WIDTH, patch_size=PATCH)


def arrays():
  """Returns random arrays as OpenCLIP names them, both towers."""
  rng = np.random.default_rng(0)

  def normal(*shape):
    return rng.normal(0, 0.1, shape).astype(np.float32)

  made = {
      "visual.class_embedding": normal(WIDTH), "logit_scale": np.float32(1),
      "visual.positional_embedding": normal((SIDE // PATCH)**2 + 1, WIDTH),
      "visual.conv1.weight": normal(WIDTH, 3, PATCH, PATCH),
      "visual.proj": normal(WIDTH, OUT), "text_projection": normal(8, OUT),
      "positional_embedding": normal(7, 8),
      "transformer.resblocks.0.ln_1.weight": normal(8)}
  layers = [f"visual.transformer.resblocks.{i}" for i in range(2)]
  for norm in ("visual.ln_pre", "visual.ln_post", *(
      f"{layer}.ln_{i}" for layer in layers for i in (1, 2))):
    made |= {f"{norm}.weight": 1 + normal(WIDTH), f"{norm}.bias": normal(WIDTH)}
  for layer in layers:
    for name, rows, columns in (
        ("attn.in_proj_", 3 * WIDTH, WIDTH), ("attn.out_proj.", WIDTH, WIDTH),
        ("mlp.c_fc.", 4 * WIDTH, WIDTH), ("mlp.c_proj.", WIDTH, 4 * WIDTH)):
      made |= {f"{layer}.{name}weight": normal(rows, columns),
               f"{layer}.{name}bias": normal(rows)}
  return made


@pytest.fixture
def theirs(tmp_path):
  """Writes a folder; keyword arguments are keys of the config's parts."""

  def make(quick=False, config=True, pictures=None, **vision):
    path = tmp_path / "open_clip_model.safetensors"
    safetensors.write_safetensors(path, arrays())
    if config:
      (tmp_path / "open_clip_config.json").write_text(json.dumps({
          "model_cfg": {"embed_dim": OUT, "vision_cfg": VISION | vision,
                        "text_cfg": {}} | ({"quick_gelu": True} if quick
                                           else {}),
          "preprocess_cfg": pictures if pictures is not None else
          {"mean": [0.5] * 3, "std": [0.5] * 3}}))
    return path

  return make


@pytest.mark.oracle
@pytest.mark.parametrize("quick", [False, True])
def test_embeddings_are_timms(theirs, quick):
  lib = oracle.import_timm()
  import torch
  path = theirs(quick)
  name = "quickgelu_" if quick else ""
  model = lib.create_model(
      f"vit_base_patch32_clip_{name}224", img_size=SIDE, embed_dim=WIDTH,
      depth=2, num_heads=WIDTH // 64, num_classes=OUT).eval()
  state = {key: torch.from_numpy(np.array(a)) for key, a in arrays().items()}
  model.load_state_dict(
      lib.models.vision_transformer.checkpoint_filter_fn(state, model))
  images = cases.pictures((SIDE, SIDE))
  want = cases.run_timm(model, images)
  assert cases.difference(cases.ours(path, images), want) <= cases.TOLERANCE
  # Written for timm it is the same.
  folder = path.parent / "timm"
  convert(path, folder / "model.safetensors", "timm")
  got = cases.run_timm(cases.open_timm(folder), images)
  assert cases.difference(got, want) <= cases.TOLERANCE


def test_the_config_is_read(theirs, caplog):
  path = theirs(True, pictures=dict(resize_mode="squash"), head_width=32,
                pool_type="tok", ls_init_value=None)
  file = read_weights(path)
  assert file.architecture["num_heads"] == 4
  assert file.architecture["gelu"] == "quick"
  assert file.architecture["ln_eps"] == 1e-5
  assert file.image_size == (SIDE, SIDE)
  assert file.metadata["preprocess"] == (
      'pil_crop({size}, 1.0, "bicubic", True)')
  assert "ignored" in caplog.text and "another tower" in caplog.text
  assert load(path.parent).config["source"] == str(path)


def test_without_a_config_what_is_assumed_is_said(theirs, caplog):
  file = read_weights(theirs(config=False), num_heads=2)
  assert file.architecture["gelu"] == "erf"
  assert "those of OpenAI have the quick one" in caplog.text


@pytest.mark.parametrize("vision, words", [
    (dict(timm_model_name="vit_base"), "timm_model_name='vit_base'"),
    (dict(pool_type="avg"), "pool_type='avg'"),
    (dict(ls_init_value=0.1), "ls_init_value=0.1")])
def test_other_towers_are_refused(theirs, vision, words):
  with pytest.raises(CheckpointError, match=words):
    read_weights(theirs(**vision))


def test_pictures_that_cannot_be_prepared(theirs):
  path = theirs(pictures=dict(resize_mode="longest"))
  with pytest.raises(CheckpointError, match="resize_mode=longest.*preprocess="):
    load(path)


def test_its_names_are_no_other_dialects():
  assert [c.name for c in CODECS if c.matches(arrays())] == ["open_clip"]
  assert [c.name for c in CODECS if c.read_only] == ["open_clip"]


def test_it_is_not_written(theirs, tmp_path):
  with pytest.raises(CheckpointError, match="a tower for text"):
    convert(theirs(), tmp_path / "x.safetensors", "open_clip")
  # Without a dialect, the first that can be written is taken.
  assert convert(theirs(), tmp_path / "x.safetensors") == "timm"

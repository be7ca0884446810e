"""Every ViT of timm and transformers loads right, or is refused in one line."""

import json

import family_cases as cases
import jax
import numpy as np
import oracle
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.weights.load import load

# timm's module: how many of its names are right at least.
MODULES = {"vision_transformer": 130, "deit": 16,
           "vision_transformer_hybrid": 9, "eva": 12, "beit": 0}
SIZES = dict(hidden_size=48, num_hidden_layers=1, num_attention_heads=4,
             intermediate_size=96, image_size=16, patch_size=8)
# transformers' model: its config and what that gets.
OTHERS = {
    "BeitModel": ("BeitConfig", SIZES),
    "Data2VecVisionModel": ("Data2VecVisionConfig", SIZES),
    "YolosModel": ("YolosConfig", SIZES | dict(num_detection_tokens=2,
                                               image_size=[16, 16])),
    "ASTModel": ("ASTConfig", dict(SIZES, max_length=32, num_mel_bins=16)),
    "VideoMAEModel": ("VideoMAEConfig", SIZES | dict(num_frames=2)),
    "VivitModel": ("VivitConfig", SIZES | dict(num_frames=2,
                                               tubelet_size=[2, 8, 8])),
    "SwinModel": ("SwinConfig", dict(
        image_size=32, patch_size=4, embed_dim=24, depths=[1, 1],
        num_heads=[2, 2], window_size=4)),
    "VitDetModel": ("VitDetConfig", SIZES),
    "FlavaImageModel": ("FlavaImageConfig", SIZES),
    "Aimv2VisionModel": ("Aimv2VisionConfig", SIZES),
    "Siglip2VisionModel": ("Siglip2VisionConfig", dict(
        SIZES, num_patches=4)),
    "CLIPForImageClassification": ("CLIPConfig", dict(vision_config=SIZES)),
}


def one_block(lib, name):
  """Returns one block of a model on a grid of 2x2 patches, and its size."""
  import torch
  with torch.device("meta"):
    patch = lib.create_model(name).patch_embed.patch_size[0]
  size = (64, 64) if "_r" in name.split("patch")[0] else (2 * patch, 2 * patch)
  arguments = dict(depth=1, img_size=size)
  return cases.randomise(lib.create_model(name, **arguments)), arguments


def same_in_float64(vit, model, images):
  """Returns whether both networks give the same in float64.

  In the ResNet of a hybrid, 50 layers deep and with random weights, float32
  alone is farther from float64 than the tolerance, in timm as here, and how
  far depends on the processor.
  """
  import torch
  images = np.asarray(images, np.float64)
  with torch.no_grad():
    want = model.double()(
        torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
  with jax.enable_x64(True):
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), vit.params)
    wide = vit.model.clone(dtype=np.float64)
    got = np.asarray(wide.apply({"params": params}, images)[0])
  return cases.difference(got, want) <= cases.TOLERANCE / 10


@pytest.mark.oracle
@pytest.mark.parametrize(("module", "share"), [
    *(pytest.param(module, 1, marks=pytest.mark.thorough)
      for module in MODULES),
    pytest.param("vision_transformer", 30, marks=pytest.mark.slow),
    pytest.param("eva", 8, marks=pytest.mark.slow)])
def test_every_name_of_timm(tmp_path, module, share):
  lib = oracle.import_timm()
  wrong, right, refused = [], [], []
  for name in lib.list_models(module=module)[::share]:
    jax.clear_caches()  # Each network is compiled once, and never again.
    try:
      model, arguments = one_block(lib, name)
    except (TypeError, AttributeError, RuntimeError, AssertionError):
      continue  # cannot be made small: has no such arguments
    lib.models.save_for_hf(
        model, tmp_path, safe_serialization=True, model_args=arguments)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["pretrained_cfg"] |= dict(
        mean=[0.5] * 3, std=[0.5] * 3, crop_mode="center", crop_pct=1.0)
    path.write_text(json.dumps(config))
    images = cases.pictures(arguments["img_size"])
    try:
      vit = load(tmp_path / "model.safetensors")
    except CheckpointError as error:
      assert "\n" not in str(error), name
      refused.append(name)
      continue
    got = np.asarray(vit.model.apply({"params": vit.params}, images)[0])
    want = cases.run_timm(model, images)
    same = got.shape == want.shape and (
        cases.difference(got, want) <= cases.TOLERANCE
        or same_in_float64(vit, model, images))
    (right if same else wrong).append(name)
  print(f"{len(right)} right, {len(refused)} refused: {refused}")
  assert not wrong
  assert len(right) >= MODULES[module] // share


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("name", OTHERS)
def test_other_models_of_transformers_are_refused(tmp_path, name):
  lib = oracle.import_transformers()
  config, arguments = OTHERS[name]
  getattr(lib, name)(getattr(lib, config)(**arguments)).save_pretrained(
      tmp_path)
  with pytest.raises(CheckpointError) as error:
    load(tmp_path)
  assert "\n" not in str(error.value)
  if name == "FlavaImageModel":
    return  # names and network are those of transformers' ViT
  (tmp_path / "config.json").unlink()
  with pytest.raises(CheckpointError) as error:
    load(tmp_path, num_heads=4)
  assert "\n" not in str(error.value)

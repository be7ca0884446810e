"""Pixels as the processors of transformers and the transforms of timm give."""

import importlib
import json

import numpy as np
import oracle
from PIL import Image

from vit_jax.weights.load import load

TOLERANCE = 1e-6  # of normalised pixels
SIZES = ((300, 400), (333, 250), (224, 224), (640, 427))  # of the pictures

# transformers' processor, in words: its module, class and arguments.
HUGGING_FACE = {
    "ViT": ("vit", "ViT", {}),
    "ViT, with a crop (DeiT as ViT)": ("vit", "ViT", dict(
        size={"height": 256, "width": 256}, do_center_crop=True,
        crop_size={"height": 224, "width": 224}, resample=3)),
    "DeiT": ("deit", "DeiT", {}),
    "BiT (DINOv2)": ("bit", "Bit", dict(
        size={"shortest_edge": 256}, crop_size=224)),
    "CLIP": ("clip", "CLIP", {}),
    "SigLIP": ("siglip", "Siglip", {}),
}
# timm's keys of pretrained_cfg.
_IMAGENET = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
TIMM = {
    "crop_pct 0.9, bicubic": dict(
        mean=[0.5] * 3, std=[0.5] * 3, crop_pct=0.9, interpolation="bicubic"),
    "crop_pct 0.875, bilinear": _IMAGENET | dict(
        crop_pct=0.875, interpolation="bilinear"),
    "squash, bicubic": _IMAGENET | dict(
        crop_pct=1.0, interpolation="bicubic", crop_mode="squash"),
}


def pictures():
  """Returns random pictures of several sizes."""
  rng = np.random.default_rng(0)
  return [Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8))
          for size in SIZES]


def hugging_face(case, folder):
  """Writes a model and its processor; returns what that does to a picture."""
  lib = oracle.import_transformers()
  module, name, arguments = HUGGING_FACE[case]
  module = importlib.import_module(
      f"transformers.models.{module}.image_processing_pil_{module}")
  processor = getattr(module, f"{name}ImageProcessorPil")(**arguments)
  lib.ViTModel(lib.ViTConfig(
      hidden_size=48, num_hidden_layers=1, num_attention_heads=4,
      intermediate_size=48, patch_size=16), add_pooling_layer=False,
  ).save_pretrained(folder)
  processor.save_pretrained(folder)
  statistics = processor.image_mean, processor.image_std

  def run(picture):
    pixels = processor(images=picture, return_tensors="np")["pixel_values"]
    return pixels[0].transpose(1, 2, 0)

  return run, statistics


def timm(case, folder):
  """The same of timm's transform."""
  lib = oracle.import_timm()
  model = lib.create_model(
      "vit_tiny_patch16_224", depth=1, embed_dim=48, num_heads=4,
      num_classes=0)
  lib.models.save_for_hf(
      model, folder, safe_serialization=True, model_args=dict(num_heads=4))
  path = folder / "config.json"
  config = json.loads(path.read_text())
  config["pretrained_cfg"] |= TIMM[case]
  path.write_text(json.dumps(config))
  transform = lib.data.create_transform((3, 224, 224), **TIMM[case])
  return (lambda picture: transform(picture).numpy().transpose(1, 2, 0),
          (TIMM[case]["mean"], TIMM[case]["std"]))


def difference(make, case, folder):
  """Returns the largest difference of normalised pixels."""
  run, statistics = make(case, folder)
  vit = load(folder)
  mean, std = (np.asarray(x, np.float64) for x in statistics)
  largest = 0.0
  for picture in pictures():
    ours = ((vit.preprocess([picture])[0].astype(np.float64) + 1) / 2 - mean
            ) / std
    theirs = run(picture)
    assert ours.shape == theirs.shape
    largest = max(largest, float(np.abs(ours - theirs).max()))
  return largest


def table(folder):
  """Returns the rows of docs/families.md."""
  rows = []
  for library, make, cases in (
      ("transformers", hugging_face, HUGGING_FACE), ("timm", timm, TIMM)):
    for number, case in enumerate(cases):
      place = folder / f"{library}{number}"
      place.mkdir()
      found = difference(make, case, place)
      rows.append(f"| {library} | {case} | {found:.0e} |")
  return rows

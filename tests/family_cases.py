"""Families of ViTs, made by timm and transformers with random weights."""

import json
import pathlib

import jax
import numpy as np
import oracle

from vit_jax.weights.convert import convert
from vit_jax.weights.load import load

TOLERANCE = 2e-5  # of the largest value
_TIMM = dict(embed_dim=48, depth=2, num_heads=4, num_classes=5)
_SIZES = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
              image_size=8, patch_size=4, num_labels=3)
_PLAIN = _SIZES | dict(intermediate_size=96)
_DINO = _SIZES | dict(mlp_ratio=2)

# family: timm's model, what differs from _TIMM, and another image size.
TIMM = {
    "ViT": ("vit_tiny_patch16_224", dict(img_size=32), (48, 32)),
    "DeiT": ("deit_tiny_patch16_224", dict(img_size=32), (32, 64)),
    "DeiT, distilled": (
        "deit_tiny_distilled_patch16_224", dict(img_size=32), (48, 32)),
    "DeiT III": ("deit3_small_patch16_224", dict(img_size=32), (48, 48)),
    "DINOv2": (
        "vit_small_patch14_dinov2", dict(img_size=28, num_classes=0), (42, 28)),
    "DINOv2 with registers": (
        "vit_small_patch14_reg4_dinov2", dict(img_size=28, num_classes=0),
        (28, 56)),
    "DINOv2 giant (SwiGLU)": (
        "vit_giant_patch14_dinov2", dict(img_size=28, num_classes=0), (42, 42)),
    "DINO": ("vit_small_patch16_224", dict(img_size=32, num_classes=0),
             (48, 32)),
    "MAE, fine-tuned (fc_norm)": (
        "vit_base_patch16_224", dict(img_size=32, global_pool="avg"), (64, 32)),
    "EVA large": ("eva_large_patch14_196", dict(img_size=28), (42, 28)),
    "OpenCLIP": ("vit_base_patch32_clip_224", dict(img_size=64), (96, 64)),
    "CLIP (quick GELU)": (
        "vit_base_patch32_clip_quickgelu_224", dict(img_size=64), (64, 96)),
    "SigLIP": ("vit_base_patch16_siglip_224",
               dict(img_size=32, num_classes=0), (48, 32)),
    "SigLIP so400m": ("vit_so400m_patch16_siglip_256",
                      dict(img_size=32, num_classes=0), (48, 32)),
    "SigLIP without MAP head": (
        "vit_base_patch16_siglip_gap_224", dict(img_size=32), (48, 32)),
    "ViT with registers (reg4_gap)": (
        "vit_medium_patch16_reg4_gap_256", dict(img_size=32), (32, 48)),
    "SO150M2": ("vit_so150m2_patch16_reg1_gap_256", dict(img_size=32),
                (32, 48)),
    "InternViT": ("vit_intern300m_patch14_448", dict(img_size=28), (42, 28)),
    "DINOv3": (
        "vit_small_patch16_dinov3", dict(
            img_size=32, num_classes=0, global_pool="token"), (48, 32)),
    "DINOv3 with biases": (
        "vit_base_patch16_dinov3_qkvb", dict(
            img_size=32, num_classes=0, global_pool="token"), (32, 64)),
    "DINOv3 plus (SwiGLU)": (
        "vit_small_plus_patch16_dinov3_qkvb", dict(img_size=32), (48, 32)),
    "FlexiViT": ("flexivit_small", dict(img_size=32), (48, 32)),
}
# family: transformers' model, its config class, and what its config gets.
HUGGING_FACE = {
    "ViT": ("ViTForImageClassification", "ViTConfig", _PLAIN),
    "DeiT": ("DeiTForImageClassification", "DeiTConfig", _PLAIN),
    "DeiT, distilled": (
        "DeiTForImageClassificationWithTeacher", "DeiTConfig", _PLAIN),
    "DINOv2": ("Dinov2Model", "Dinov2Config", _DINO),
    "DINOv2, classifier": (
        "Dinov2ForImageClassification", "Dinov2Config", _DINO),
    "DINOv2 giant (SwiGLU)": (
        "Dinov2Model", "Dinov2Config", _DINO | dict(use_swiglu_ffn=True)),
    "DINOv2 with registers": (
        "Dinov2WithRegistersForImageClassification",
        "Dinov2WithRegistersConfig", _DINO),
    "MSN": ("ViTMSNForImageClassification", "ViTMSNConfig", _PLAIN),
    "MAE": ("ViTMAEModel", "ViTMAEConfig", _PLAIN | dict(mask_ratio=0.0)),
    "I-JEPA": ("IJepaForImageClassification", "IJepaConfig", _PLAIN),
    "CLIP": ("CLIPVisionModelWithProjection", "CLIPVisionConfig",
             _PLAIN | dict(projection_dim=24)),
    "SigLIP": ("SiglipVisionModel", "SiglipVisionConfig", _PLAIN),
    "DINOv3": ("DINOv3ViTModel", "DINOv3ViTConfig",
               _PLAIN | dict(num_register_tokens=4)),
    "DINOv3 plus (SwiGLU)": (
        "DINOv3ViTModel", "DINOv3ViTConfig",
        _PLAIN | dict(num_register_tokens=4, use_gated_mlp=True,
                      hidden_act="silu")),
}
# Only these models of transformers take images that are not square.
_NOT_SQUARE = ("ViT", "DeiT", "DeiT, distilled", "DINOv3",
               "DINOv3 plus (SwiGLU)")
# Read only: transformers' own class of them cannot be written, or another one
# computes the same and is written instead.
READ_ONLY = ("MSN", "MAE")


def elsewhere_of(family):
  """Returns another image size for a family of transformers."""
  return (12, 20) if family in _NOT_SQUARE else (12, 12)


def randomise(model):
  """Returns a model of PyTorch with weights that are all in use."""
  import torch
  with torch.random.fork_rng():
    torch.manual_seed(0)
    for name, value in model.named_parameters():
      scales = ("norm", "ls1", "ls2", "layer_scale")
      is_scale = value.ndim == 1 and not name.endswith("bias") and any(
          part in name for part in scales)
      if value.numel():
        torch.nn.init.normal_(value, 1.0 * is_scale, 0.1)
  return model.eval()


def pictures(size):
  """Returns two random images in [-1, 1]."""
  rng = np.random.default_rng(1)
  return rng.uniform(-1, 1, (2, *size, 3)).astype(np.float32)


def ours(path, images):
  """Returns our output for a file."""
  vit = load(path)
  return np.asarray(jax.jit(vit.model.apply)({"params": vit.params}, images)[0])


def difference(got, want):
  """Returns the largest difference, of the largest value."""
  return float(np.abs(got - want).max() / np.abs(want).max())


def make_timm(family, size, folder, **changes):
  """Writes timm's model of a family as timm does; returns it."""
  lib = oracle.import_timm()
  name, arguments, _ = TIMM[family]
  arguments = _TIMM | arguments | dict(img_size=size) | changes
  model = randomise(lib.create_model(name, **arguments))
  said = {k: v for k, v in arguments.items() if k != "num_classes"}
  lib.models.save_for_hf(
      model, folder, safe_serialization=True, model_args=said)
  path = pathlib.Path(folder) / "config.json"
  config = json.loads(path.read_text())
  config["pretrained_cfg"] |= dict(mean=[0.5] * 3, std=[0.5] * 3)
  path.write_text(json.dumps(config))
  return model


def run_timm(model, images):
  """Returns timm's output for images (b h w c)."""
  import torch
  with torch.inference_mode():
    return model(
        torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


def open_timm(folder):
  """Returns the model that timm makes of a folder alone."""
  return oracle.import_timm().create_model(
      f"local-dir:{folder}", pretrained=True).eval()


def make_hugging_face(family, size, folder, **changes):
  """Writes transformers' model of a family as it does; returns it."""
  lib = oracle.import_transformers()
  model, config, arguments = HUGGING_FACE[family]
  arguments = arguments | dict(image_size=size) | changes
  made = randomise(getattr(lib, model)(getattr(lib, config)(**arguments)))
  made.save_pretrained(folder)
  return made


def run_hugging_face(model, images):
  """Returns transformers' output for images (b h w c)."""
  import torch
  with torch.inference_mode():
    out = model(pixel_values=torch.from_numpy(
        images.transpose(0, 3, 1, 2).copy()))
  for key in ("logits", "image_embeds", "pooler_output"):
    if getattr(out, key, None) is not None:
      return getattr(out, key).numpy()
  return out.last_hidden_state[:, 0].numpy()


def there_and_back(theirs, folder, images, run, dialect, other):
  """Returns differences: read, through our .npz, and written to `dialect`.

  Args:
    theirs: the library's model.
    folder: where it was written to, as model.safetensors.
    images: for all of them.
    run: the library's output of a model.
    dialect: what is written.
    other: opens what was written in a folder; None for "not written".
  """
  want, source = run(theirs, images), folder / "model.safetensors"
  assert difference(want[:1], want[1:]) > 1e-3  # they depend on the picture
  convert(source, folder / "ours" / "model.npz")
  found = [difference(ours(path, images), want)
           for path in (source, folder / "ours" / "model.npz")]
  if other is not None:
    written = folder / "written"
    convert(source, written / "model.safetensors", dialect)
    found.append(difference(run(other(written), images), want))
  return found


def measure(folder):
  """Yields (library, family, its model, size, differences) of every case.

  Args:
    folder: an empty folder.
  """
  for family, (name, arguments, elsewhere) in TIMM.items():
    side = arguments["img_size"]
    for size in ((side, side), elsewhere):
      place = folder / f"timm{family.replace('/', '')}{size}"
      theirs = make_timm(family, size, place)
      yield ("timm", family, name, size, there_and_back(
          theirs, place, pictures(size), run_timm, "timm", open_timm))
  for family, (name, _, _) in HUGGING_FACE.items():
    for size in ((8, 8), elsewhere_of(family)):
      place = folder / f"transformers{family.replace('/', '')}{size}"
      side = size[0] if size[0] == size[1] else size
      theirs = make_hugging_face(family, side, place)
      opened = None if family in READ_ONLY else type(theirs).from_pretrained
      yield ("transformers", family, name, size, there_and_back(
          theirs, place, pictures(size), run_hugging_face, "hugging_face",
          opened))


def table(folder):
  """Returns the rows of docs/families.md: the larger of both sizes."""
  rows = {}
  for library, family, name, _, found in measure(folder):
    key = (library, family, name)
    found = found + [None] * (3 - len(found))
    rows[key] = [max((x for x in pair if x is not None), default=None)
                 for pair in zip(rows.get(key, found), found, strict=True)]
  return [
      f"| {library} | {family} | `{name}` | " + " | ".join(
          "read only" if x is None else f"{x:.0e}" for x in found) + " |"
      for (library, family, name), found in rows.items()]

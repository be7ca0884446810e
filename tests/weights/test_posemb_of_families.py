"""Positions are resized as the library does it that a file is of."""

import functools

import family_cases as cases
import jax
import numpy as np
import oracle
import pytest

from vit_jax.weights.convert import convert, write_weights
from vit_jax.weights.load import init_params, load
from vit_jax.weights.posemb_resize import METHODS, resize_posemb
from vit_jax.weights.read import read_weights

GRIDS = [((8, 8), (12, 6)), ((7, 7), (4, 9)), ((5, 3), (1, 8)),
         ((37, 37), (16, 16)), ((2, 2), (3, 1))]
SIZE, OTHERS = 32, [(48, 24), (20, 36)]
# Of transformers: what the call gets for another size.
HUGGING_FACE = {
    "ViT": dict(interpolate_pos_encoding=True),
    "DINOv2": {}, "DINOv2 with registers": {},
    "CLIP": dict(interpolate_pos_encoding=True),
    "SigLIP": dict(interpolate_pos_encoding=True)}
TIMM = ("ViT", "DINOv2 with registers", "OpenCLIP")


@pytest.mark.oracle
@pytest.mark.parametrize("old, new", GRIDS)
@pytest.mark.parametrize("aligned", [False, True])
def test_cubic_as_pytorch(old, new, aligned):
  oracle.import_timm()
  import torch
  rng = np.random.default_rng(0)
  table = rng.normal(size=(1, 1 + old[0] * old[1], 5)).astype(np.float32)
  got = resize_posemb(table, old, new, 1,
                      "torch_bicubic" + "_aligned" * aligned)
  # In float64: in float32 PyTorch's own places are off by up to 1e-5.
  grid = torch.from_numpy(table[:, 1:].reshape(1, *old, 5)).double()
  grid = grid.permute(0, 3, 1, 2)
  want = torch.nn.functional.interpolate(
      grid, size=new, mode="bicubic", align_corners=aligned)
  want = want.permute(0, 2, 3, 1).reshape(1, -1, 5).numpy()
  np.testing.assert_allclose(got[:, 1:], want, atol=2e-6)
  np.testing.assert_array_equal(got[:, :1], table[:, :1])
  other = resize_posemb(table, old, new, 1, "bicubic")[:, 1:]
  assert np.abs(other - want).max() > 1e-3


def features(path, size, **said):
  vit = load(path, image_size=size, **said)
  images = cases.pictures(size)
  return np.asarray(jax.jit(vit.model.apply)({"params": vit.params}, images)[0])


def assert_family(path, wanted, method):
  """Checks every size, that another method differs, and what .npz keeps."""
  convert(path, path.parent / "ours" / "model.npz")
  assert read_weights(path).metadata["posemb_resize"] == method
  for size in OTHERS:
    want = wanted(size)
    for file in (path, path.parent / "ours" / "model.npz"):
      assert cases.difference(features(file, size), want) <= cases.TOLERANCE
  other = features(path, OTHERS[0], method="corner_aligned")
  assert cases.difference(other, wanted(OTHERS[0])) > 1e-4


@pytest.mark.oracle
@pytest.mark.parametrize("family", HUGGING_FACE)
def test_transformers(tmp_path, family):
  theirs = cases.make_hugging_face(family, SIZE, tmp_path)

  def wanted(size):
    return cases.run_hugging_face(
        functools.partial(theirs, **HUGGING_FACE[family]),
        cases.pictures(size))

  registers = "registers" in family
  assert_family(tmp_path / "model.safetensors", wanted,
                "bicubic" if registers else "torch_bicubic")


@pytest.mark.oracle
@pytest.mark.parametrize("family", TIMM)
def test_timm(tmp_path, family):
  patch = 14 if "DINO" in family else 4
  theirs = cases.make_timm(
      family, (8 * patch, 8 * patch), tmp_path, patch_size=patch,
      dynamic_img_size=True)

  def scaled(size):
    return tuple(side * patch // 4 for side in size)

  path = tmp_path / "model.safetensors"
  for size in map(scaled, OTHERS):
    want = cases.run_timm(theirs, cases.pictures(size))
    assert cases.difference(features(path, size), want) <= cases.TOLERANCE
  other = features(path, scaled(OTHERS[0]), method="corner_aligned")
  want = cases.run_timm(theirs, cases.pictures(scaled(OTHERS[0])))
  assert cases.difference(other, want) > 1e-4


@pytest.mark.oracle
def test_torchvision(tmp_path):
  oracle.import_timm()
  import safetensors.torch
  from torchvision.models import vision_transformer as lib

  def make(size):
    return lib.VisionTransformer(size, 4, 2, 4, 48, 96, num_classes=5)

  theirs = cases.randomise(make(SIZE))
  path = tmp_path / "model.safetensors"
  safetensors.torch.save_file(theirs.state_dict(), path)
  larger = make(48)
  larger.load_state_dict(lib.interpolate_embeddings(48, 4, theirs.state_dict()))
  images = cases.pictures((48, 48))
  mean, std = (np.float32([0.485, 0.456, 0.406]),
               np.float32([0.229, 0.224, 0.225]))
  want = cases.run_timm(larger.eval(), ((images + 1) / 2 - mean) / std)
  got = features(path, (48, 48), num_heads=4)
  assert cases.difference(got, want) <= cases.TOLERANCE
  got = features(path, (48, 48), num_heads=4, method="corner_aligned")
  assert cases.difference(got, want) > 1e-4


def test_the_papers_way_is_that_of_its_files(
    tmp_path, small_model, random_flat, describe):
  model = small_model()
  path = tmp_path / "model.npz"
  write_weights(path, random_flat(model), describe(model, (8, 8)))
  for method, want in zip(METHODS, ("corner_aligned", *METHODS[1:]),
                          strict=True):
    _, report = init_params(
        path, model, 16, head="auto", method=method)
    assert report.resized == ((2, 2), (4, 4), want)

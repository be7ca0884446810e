"""Resizes as PyTorch's worlds make them; timm's own are in tests/weights."""

import numpy as np
from PIL import Image
import pytest

from vit_jax.data.transforms import make_transforms
from vit_jax.errors import UsageError


@pytest.fixture
def picture():
  return np.random.default_rng(0).integers(0, 256, (30, 47, 3), np.uint8)


def run(text, image, size=(16, 16)):
  return make_transforms(text, size)(image, np.random.default_rng(0))


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "nearest"])
def test_resize_is_pillows(picture, method):
  got = run(f"pil_resize((9, 14), '{method}')", picture)
  resample = Image.Resampling[method.upper()]
  want = np.asarray(Image.fromarray(picture).resize((14, 9), resample))
  assert got.dtype == np.float32
  np.testing.assert_array_equal(got, want)
  assert (got != run("resize((9, 14))", picture)).any()


@pytest.mark.parametrize("size, shape", [
    ((16, 16), (16, 16, 3)), ((12, 20), (12, 20, 3)), ((20, 12), (20, 12, 3))])
@pytest.mark.parametrize("pct", [0.6, 1.0])
def test_crops_have_the_size_asked_for(picture, size, shape, pct):
  for image in (picture, picture.transpose(1, 0, 2), picture[:16, :16]):
    assert run(f"pil_crop({{size}}, {pct})", image, size).shape == shape
    assert run(f"pil_crop({{size}}, {pct}, squash=True)", image,
               size).shape == shape


def test_the_whole_picture_at_its_own_size(picture):
  np.testing.assert_array_equal(
      run("pil_crop({size})", picture, (30, 47)), picture)


def test_after_a_float_resize_values_are_rounded(picture):
  got = run("resize((16, 16))|pil_resize((16, 16))", picture)
  want = run("resize((16, 16))", picture)
  np.testing.assert_array_equal(got, np.clip(np.rint(want), 0, 255))


@pytest.mark.parametrize("text, message", [
    ("pil_resize(8, 'cubic')", "method is 'cubic'; expected one of nearest"),
    ("pil_crop(8, 1.5)", "crop_pct is 1.5; expected a fraction"),
    ("pil_crop(0)", "size is 0")])
def test_wrong_arguments(text, message):
  with pytest.raises(UsageError, match=message):
    make_transforms(text)

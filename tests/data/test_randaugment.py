"""RandAugment: Pillow's definitions, documented strengths, its own draws."""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
import pytest

from vit_jax.data import randaugment
from vit_jax.data.randaugment import OPS, RandAugment
from vit_jax.data.transforms import make_transforms
from vit_jax.errors import UsageError

AFFINE = Image.Transform.AFFINE
GREY = (128, 128, 128)


@pytest.fixture(scope="module")
def picture():
  """Smooth colours with texture, few blacks, more columns than rows."""
  rng = np.random.default_rng(0)
  y, x = np.mgrid[:60, :80]
  smooth = np.stack([2 * x + y, 3 * y + 20, 200 - x], axis=-1)
  noise = rng.integers(-20, 20, smooth.shape)
  return np.clip(smooth + noise, 5, 250).astype(np.uint8)


@pytest.fixture
def rng():
  return np.random.default_rng(0)


def moved(image, matrix):
  return image.transform(
      image.size, AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=GREY)


# What Pillow makes of an argument; the table of the module, tried out.
EXACT = [
    ("auto_contrast", None, ImageOps.autocontrast),
    ("equalize", None, ImageOps.equalize),
    ("invert", None, ImageOps.invert),
    *(("posterize", bits, lambda im, b: ImageOps.posterize(im, b))
      for bits in (1, 4, 6, 8)),
    *(("solarize", t, lambda im, t: ImageOps.solarize(im, t))
      for t in (0, 100, 255, 256, 512)),
    *((name.lower(), f, lambda im, f, name=name: getattr(
        ImageEnhance, name)(im).enhance(f))
      for name in ("Color", "Contrast", "Brightness", "Sharpness")
      for f in (0.1, 0.7, 1.0, 1.9, 3.7)),
]
MOVED = [
    *(("rotate", a, lambda im, a: im.rotate(
        a, Image.Resampling.NEAREST, fillcolor=GREY))
      for a in (-60, -3, 30, 45)),
    *(("shear_x", v, lambda im, v: moved(im, (1, v, 0, 0, 1, 0)))
      for v in (-0.57, 0.31)),
    *(("shear_y", v, lambda im, v: moved(im, (1, 0, 0, v, 1, 0)))
      for v in (-0.57, 0.31)),
    *(("translate_x", v, lambda im, v: moved(im, (1, 0, v, 0, 1, 0)))
      for v in (-25, 10)),
    *(("translate_y", v, lambda im, v: moved(im, (1, 0, 0, 0, 1, v)))
      for v in (-25, 10)),
]


def both(picture, name, value, pillow):
  args = () if value is None else (value,)
  ours = OPS[name].apply(picture, *args)
  assert ours.dtype == np.uint8 and ours.shape == picture.shape
  return ours, np.asarray(pillow(Image.fromarray(picture), *args))


@pytest.mark.parametrize(("name", "value", "pillow"), EXACT,
                         ids=[f"{row[0]}-{row[1]}" for row in EXACT])
def test_is_pillows(picture, name, value, pillow):
  ours, theirs = both(picture, name, value, pillow)
  np.testing.assert_array_equal(ours, theirs)
  if name not in ("posterize", "solarize") and value != 1.0:
    assert (ours != picture).any()


@pytest.mark.parametrize(("name", "value", "pillow"), MOVED,
                         ids=[f"{row[0]}-{row[1]}" for row in MOVED])
def test_moves_pixels_as_pillow_does(picture, name, value, pillow):
  ours, theirs = both(picture, name, value, pillow)
  # A pixel halfway between two may be rounded to either. (Shears of 0.6
  # would have a fifth of all pixels there.)
  assert (ours == theirs).all(axis=-1).mean() > 0.99
  wrong = OPS[name].apply(picture, -value)
  assert (wrong == theirs).all(axis=-1).mean() < 0.9


def test_equalize_and_auto_contrast_of_an_even_picture():
  even = np.full((8, 9, 3), 77, np.uint8)
  np.testing.assert_array_equal(randaugment.equalize(even), even)
  np.testing.assert_array_equal(randaugment.auto_contrast(even), even)


def test_solarize_add():
  row = np.array([0, 17, 100, 127, 128, 255], np.uint8)
  image = np.repeat(row[None, :, None], 3, axis=-1)
  out = randaugment.solarize_add(image, 110)
  assert out[0, :, 0].tolist() == [110, 127, 210, 237, 128, 255]
  out = randaugment.solarize_add(image, 220)
  assert out[0, :, 1].tolist() == [220, 237, 255, 255, 128, 255]


def test_cutout_is_cut_at_the_border(picture):
  out = randaugment.cutout(picture, 10, 5, 40)
  expected = picture.copy()
  expected[:15, 30:50] = 128
  assert (expected != picture).any()
  np.testing.assert_array_equal(out, expected)


# Magnitude, and the argument that each op gets at it, by hand.
STRENGTHS = {
    "rotate": {0: 0, 10: 30, 15: 45, 20: 60},
    "posterize": {0: 0, 10: 4, 15: 6, 20: 8},
    "solarize": {0: 0, 10: 256, 15: 384, 20: 512},
    "solarize_add": {0: 0, 10: 110, 15: 165, 20: 220},
    "color": {0: 0.1, 10: 1.9, 15: 2.8, 20: 3.7},
    "contrast": {0: 0.1, 10: 1.9, 15: 2.8, 20: 3.7},
    "brightness": {0: 0.1, 10: 1.9, 15: 2.8, 20: 3.7},
    "sharpness": {0: 0.1, 10: 1.9, 15: 2.8, 20: 3.7},
    "shear_x": {0: 0, 10: 0.3, 15: 0.45, 20: 0.6},
    "shear_y": {0: 0, 10: 0.3, 15: 0.45, 20: 0.6},
    "translate_x": {0: 0, 10: 100, 15: 150, 20: 200},
    "translate_y": {0: 0, 10: 100, 15: 150, 20: 200},
    "cutout": {0: 0, 10: 40, 15: 60, 20: 80},
}


@pytest.mark.parametrize("name", STRENGTHS)
def test_strengths(picture, name, rng, monkeypatch):
  for magnitude, expected in STRENGTHS[name].items():
    got = []
    monkeypatch.setitem(OPS, name, OPS[name]._replace(
        apply=lambda image, value, *rest, got=got: got.append(value) or image))
    for _ in range(12):
      RandAugment(2, magnitude).distort(picture, name, rng)
    signs = {-expected, expected} if OPS[name].signed else {expected}
    assert {round(x, 9) for x in got} == {round(x, 9) for x in signs}


def test_sixteen_ops_and_only_those_without_a_strength_are_left_out():
  assert len(OPS) == 16
  assert set(OPS) - set(STRENGTHS) == {"auto_contrast", "equalize", "invert"}


def test_posterize_leaves_at_least_one_bit(picture):
  assert set(np.unique(randaugment.posterize(picture, 0))) == {0, 128}


def test_ops_are_equally_likely(picture, rng, monkeypatch):
  seen = []
  monkeypatch.setattr(
      RandAugment, "distort",
      lambda self, image, name, rng: seen.append(name) or image)
  for _ in range(1600):
    RandAugment(2, 10)(picture, rng)
  counts = np.array([seen.count(name) for name in OPS])
  assert counts.sum() == 3200
  # Chi-square with 15 degrees of freedom: above 37.7 once in a thousand.
  assert ((counts - 200) ** 2 / 200).sum() < 37.7


def test_depends_on_the_generator_alone(picture):
  augment = RandAugment(2, 15, translate=20, cutout=10)
  outs = [augment(picture, np.random.default_rng(seed)) for seed in range(9)]
  again = [augment(picture, np.random.default_rng(seed)) for seed in range(9)]
  np.testing.assert_array_equal(outs, again)
  assert len({out.tobytes() for out in outs}) > 6


def test_input_is_left_alone(picture, rng):
  before = picture.copy()
  for name in OPS:
    RandAugment(1, 10).distort(picture, name, rng)
  np.testing.assert_array_equal(picture, before)


def test_in_a_pipeline(picture, rng):
  pipeline = make_transforms(
      "inception_crop({size})|flip_lr|randaugment(2, 15)", 32)
  assert pipeline.random
  out = pipeline(picture, rng)
  assert out.shape == (32, 32, 3) and out.dtype == np.uint8
  named = make_transforms("randaugment(2, magnitude=15, translate=10)")
  assert named.steps == (RandAugment(2, 15, translate=10),)


def test_float_pictures_are_rounded(picture, rng):
  image = picture + np.float32(0.4)
  np.testing.assert_array_equal(RandAugment(0, 5)(image, rng), picture)


@pytest.mark.parametrize(("text", "message"), [
    ("randaugment(2, 31)", "magnitude is 31; expected 0 to 30"),
    ("randaugment(1.5, 9)", "layers is 1.5; expected 0 to 99"),
    ("randaugment(2, -1)", "magnitude is -1"),
    ("randaugment(2, 9, cut=3)", "no argument 'cut'.*did you mean 'cutout'"),
    ("randaug(2, 9)", "no transform 'randaug'.*did you mean 'randaugment'")])
def test_errors(text, message):
  with pytest.raises(UsageError, match=message):
    make_transforms(text)

import numpy as np
import pytest

from vit_jax.data.preprocess import Preprocess
from vit_jax.errors import DataError, UsageError

PICTURES = ["landscape.jpg", "portrait.jpg", "gray.jpg", "gray.png"]


@pytest.fixture
def expected(goldens):
  """Returns the golden result of a pipeline for all pictures."""
  with np.load(goldens / "preprocessing.expected.npz") as file:
    return {kind: np.stack([file[f"{name}/{kind}"] for name in PICTURES])
            for kind in ("squash96", "decoded") if kind == "squash96"}


def test_paths_become_the_golden_batch(goldens, expected):
  squash = Preprocess("resize({size})", (96, 96))
  got = squash([goldens / name for name in PICTURES])
  assert got.dtype == np.float32 and got.shape == (4, 96, 96, 3)
  np.testing.assert_allclose(got, expected["squash96"], atol=1e-5)
  other = Preprocess("resize_small(112)|central_crop({size})", (96, 96))(
      [goldens / name for name in PICTURES])
  assert np.abs(other - expected["squash96"]).max() > 0.1


def test_a_single_picture_in_any_form_is_a_batch_of_one(goldens):
  squash = Preprocess("resize({size})", (16, 24))
  path = goldens / "landscape.jpg"
  with np.load(goldens / "preprocessing.expected.npz") as file:
    pixels = file["landscape.jpg/decoded"]
  want = squash([path])
  assert want.shape == (1, 16, 24, 3)
  for form in (path, str(path), path.read_bytes(), pixels, pixels[None],
               [pixels], [path.read_bytes()], (str(path),)):
    np.testing.assert_array_equal(squash(form), want)


def test_batches_and_generators():
  images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
  keep = Preprocess("", (8, 8))
  got = keep(images)
  np.testing.assert_allclose(got, images / 127.5 - 1, atol=1e-6)
  np.testing.assert_array_equal(keep(iter(images)), got)
  np.testing.assert_array_equal(keep(images[1]), got[1:2])
  assert keep([]).shape == (0, 8, 8, 3)
  gray = keep(images[0, :, :, 0])
  np.testing.assert_array_equal(gray[..., 0], got[:1, ..., 0])


def test_wrong_pictures_are_named(tmp_path):
  squash = Preprocess("resize({size})", (8, 8))
  with pytest.raises(DataError, match="none.jpg: cannot be read"):
    squash(tmp_path / "none.jpg")
  (tmp_path / "page.jpg").write_bytes(b"<html>")
  with pytest.raises(DataError, match=r"page\.jpg: .*HTML"):
    squash([tmp_path / "page.jpg"])
  with pytest.raises(DataError, match="image 1: "):
    squash([np.zeros((4, 4, 3), np.uint8), b"nothing"])


def test_a_pipeline_must_end_at_the_image_size():
  keep = Preprocess("resize(4)", (8, 8))
  with pytest.raises(DataError, match=r"gives shape \(4, 4, 3\), but the mod"):
    keep(np.zeros((4, 4, 3), np.uint8))
  with pytest.raises(UsageError, match="resise"):
    Preprocess("resise({size})", (8, 8))

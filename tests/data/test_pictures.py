"""A picture in any form has the same pixels; what is none says what to do."""

import io
import os
import pathlib

import numpy as np
from PIL import Image
import pytest

from vit_jax.data.pictures import find_images, list_pictures
from vit_jax.errors import DataError


@pytest.fixture
def pixels():
  return np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.fixture
def file(tmp_path, pixels):
  path = tmp_path / "pictures" / "a.png"
  path.parent.mkdir()
  Image.fromarray(pixels).save(path)
  return path


class Tensor:
  """What other libraries have: not an array, but as good as one."""

  def __init__(self, array):
    self.array = array

  def __array__(self, dtype=None, copy=None):
    return np.asarray(self.array, dtype)


FORMS = {
    "path": lambda file, pixels: file,
    "text": lambda file, pixels: str(file),
    "folder": lambda file, pixels: file.parent,
    "bytes": lambda file, pixels: file.read_bytes(),
    "bytearray": lambda file, pixels: bytearray(file.read_bytes()),
    "memoryview": lambda file, pixels: memoryview(file.read_bytes()),
    "open file": lambda file, pixels: io.BytesIO(file.read_bytes()),
    "image": lambda file, pixels: Image.open(file),
    "array": lambda file, pixels: pixels,
    "turned array": lambda file, pixels: pixels[::-1][::-1],
    "16 bits": lambda file, pixels: pixels.astype(np.uint16) * 257,
    "RGBA": lambda file, pixels: np.dstack(
        [pixels, np.full(pixels.shape[:2], 255, np.uint8)]),
    "tensor": lambda file, pixels: Tensor(pixels),
    "batch": lambda file, pixels: pixels[None],
    "array of paths": lambda file, pixels: np.array([str(file)]),
    "column of paths": lambda file, pixels: np.array([str(file)], object),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_pixels_in_any_form(form, file, pixels):
  item = FORMS[form](file, pixels)
  for given in (item, [item], (item,), iter([item])):
    (picture,) = list_pictures(given)
    np.testing.assert_array_equal(picture.decode(), pixels)


def test_grey_arrays(pixels):
  grey = pixels[..., 0]
  want = np.repeat(grey[..., None], 3, -1)
  for form in (grey, grey[..., None], [grey], Image.fromarray(grey)):
    (picture,) = list_pictures(form)
    np.testing.assert_array_equal(picture.decode(), want)


def test_an_open_file_is_read_from_its_start_every_time(file, pixels):
  with open(file, "rb") as opened:
    opened.read(10)
    for _ in range(2):
      (picture,) = list_pictures(opened)
      np.testing.assert_array_equal(picture.decode(), pixels)
  with pytest.raises(DataError, match="cannot be read .*closed"):
    picture.decode()


def test_kinds_may_be_mixed_and_keep_their_order(file, pixels):
  other = file.with_name("b.png")
  Image.fromarray(255 - pixels).save(other)
  found = list_pictures(
      [pixels, file.parent, np.stack([pixels, 255 - pixels]), other])
  assert [p.name for p in found] == [
      "image 0", str(file), str(other), "image 3", "image 4", str(other)]
  for picture, turned in zip(found, [0, 0, 1, 0, 1, 1], strict=True):
    np.testing.assert_array_equal(
        picture.decode(), 255 - pixels if turned else pixels)


def test_home_is_found(file, pixels, monkeypatch):
  monkeypatch.setenv("HOME", str(file.parent))
  (picture,) = list_pictures("~/a.png")
  np.testing.assert_array_equal(picture.decode(), pixels)
  assert find_images([pathlib.Path(file.parent)]) == [str(file)]


def test_nothing_is_an_empty_list():
  assert list_pictures([]) == list_pictures(np.zeros((0, 4, 4, 3), "u1")) == []


WRONG = {
    r"image 0: an array float32\[4, 4, 3\]; .*uint8 from 0 to 255, found 0 to "
    r"1; .*numpy.rint\(255 \* images\).astype\('uint8'\)$":
    np.linspace(0, 1, 48, dtype="f4").reshape(4, 4, 3),
    r"found 0 to 200; .*numpy.rint\(images\)":
    np.linspace(0, 200, 48).reshape(4, 4, 3),
    r"found -1 to 1; .*127.5 \* images \+ 127.5.*vit.model.apply$":
    np.linspace(-1, 1, 48).reshape(1, 4, 4, 3),
    r"an array int64.*images.astype\('uint8'\)": np.zeros((4, 4, 3), "i8"),
    "an array int64.*found -1 to 0": -np.eye(4, dtype="i8"),
    "channels, 1 to 4, on the last axis; move them": np.zeros((3, 8, 8), "u1"),
    "moveaxis.images, -3, -1": np.zeros((2, 3, 8, 8), "u1"),
    "a batch of grey pictures is": np.zeros((9, 8, 8), "u1"),
    r"expected \(h w\), \(h w c\), or a batch": np.zeros((1, 1, 4, 4, 3), "u1"),
    "image 1 is of type list; .*numpy.asarray": [b"", [[1, 2], [3, 4]]],
    "image 0 is None; expected a path": [None],
    "pictures are None; expected a path": None,
    "pictures are of type dict; expected": {"a": 1},
    "pictures are of type int; expected": 3,
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_no_picture_says_what_to_do(message):
  with pytest.raises(DataError, match=message) as error:
    list_pictures(WRONG[message])
  assert "\n" not in str(error.value)


UNREADABLE = {
    "none.jpg: cannot be read .*give the path": "none.jpg",
    "https://a.b/c.jpg: cannot be read .*download it": "https://a.b/c.jpg",
    "image 0: .*opened as text": io.StringIO("x"),
    "image 0: an empty file": b"",
}


@pytest.mark.parametrize("message", UNREADABLE)
def test_what_cannot_be_read_is_named(message):
  (picture,) = list_pictures(UNREADABLE[message])
  with pytest.raises(DataError, match=message):
    picture.decode()


def test_a_folder_without_pictures_is_named(tmp_path):
  (tmp_path / "a.txt").write_text("text")
  with pytest.raises(DataError, match=f"{tmp_path}: no image found"):
    list_pictures(os.fspath(tmp_path))

"""Position embeddings that leave no array: said by the file, or asked for."""

import os

import numpy as np
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.models.posemb import KINDS, WITHOUT_ARRAYS
from vit_jax.weights import adapt, convert
from vit_jax.weights.formats import npz
from vit_jax.weights.load import init_params, load
from vit_jax.weights.read import read_weights


def test_these_are_the_kinds_without_parameters(small_model):
  def shapes(kind):
    return adapt.expected_shapes(small_model(posemb=kind), (8, 8))

  assert {kind for kind in KINDS if shapes(kind) == shapes("none")} == set(
      WITHOUT_ARRAYS)


@pytest.fixture
def written(tmp_path, small_model, random_flat, describe):
  """Returns a function: a file of such a model, without its .json."""

  def write(kind, name="model.npz", dialect="released"):
    model = small_model(posemb=kind)
    path = tmp_path / name
    convert.write_weights(path, random_flat(model), describe(model, (8, 12)),
                          dialect)
    os.remove(path.with_suffix(".json"))
    return path

  return write


@pytest.mark.parametrize("kind", WITHOUT_ARRAYS)
@pytest.mark.parametrize("name, dialect", [
    ("model.npz", "released"), ("model.npz", "big_vision"),
    ("model.npz", "linen"), ("model.safetensors", "timm")])
def test_a_file_says_its_kind_itself(written, kind, name, dialect):
  if dialect == "timm" and kind != "none":
    pytest.skip("timm has no such network")
  file = read_weights(written(kind, name, dialect))
  assert file.architecture["posemb"] == kind
  assert file.image_size == (8, 12)


def test_the_note_is_no_array(written, tmp_path):
  # Readers of the official code take every array for a parameter.
  path = written("rope2d")
  with np.load(path, allow_pickle=False) as file:
    names = set(file.files)
    copied = {name: file[name] for name in file.files}
  assert names == set(npz.read_npz(path))
  assert not any("rope" in name for name in names)
  np.savez(tmp_path / "copied.npz", **copied)
  assert npz.read_note(tmp_path / "copied.npz") == ""


@pytest.fixture
def bare(written, tmp_path):
  """A file as another program copies it: the arrays alone."""
  path = tmp_path / "bare.npz"
  np.savez(path, **npz.read_npz(written("rope2d", "first.npz")))
  return path


def test_without_a_word_of_it_the_kind_is_asked_for(bare):
  with pytest.raises(CheckpointError) as raised:
    read_weights(bare)
  message = str(raised.value)
  assert "pass posemb= one of 'none', 'sincos2d', 'rope2d'" in message
  assert "--posemb" in message
  with pytest.raises(CheckpointError, match="not '1d'; pass posemb="):
    read_weights(bare, posemb="1d")
  for kind in WITHOUT_ARRAYS:
    assert read_weights(bare, posemb=kind).architecture["posemb"] == kind
    assert load(bare, image_size=8, posemb=kind).model.posemb == kind


def test_the_kind_matters(bare):
  images = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
  logits = []
  for kind in WITHOUT_ARRAYS:
    vit = load(bare, image_size=8, posemb=kind)
    logits.append(vit.model.apply({"params": vit.params}, images)[0])
  assert np.abs(logits[0] - logits[1]).max() > 1e-3
  assert np.abs(logits[0] - logits[2]).max() > 1e-3


def test_where_arrays_show_it_nothing_is_asked(written, tmp_path):
  path = tmp_path / "bare.npz"
  np.savez(path, **npz.read_npz(written("2d", "first.npz")))
  assert read_weights(path).architecture["posemb"] == "2d"


def test_training_knows_the_kind_of_its_model(
    bare, written, small_model, caplog):
  model = small_model(posemb="rope2d")
  params, _ = init_params(bare, model, 8, head="keep")
  assert params
  assert not caplog.text
  init_params(written("sincos2d"), model, 8, head="keep")
  assert "model.posemb='rope2d', the file's is 'sincos2d'" in caplog.text


def test_a_converted_file_keeps_the_kind(bare, tmp_path):
  convert.convert(bare, tmp_path / "b.npz", "big_vision", posemb="rope2d")
  os.remove(tmp_path / "b.json")
  assert read_weights(tmp_path / "b.npz").architecture["posemb"] == "rope2d"


def test_damaged_and_foreign_notes_are_no_notes(tmp_path, written):
  arrays = npz.read_npz(written("1d"))
  for note in ("", "a comment", "[1]", '{"vit_jax": 3}', "é" * 70_000):
    npz.write_npz(tmp_path / "a.npz", arrays, note)
    assert set(npz.read_npz(tmp_path / "a.npz")) == set(arrays)
    if note != '{"vit_jax": 3}':
      assert read_weights(tmp_path / "a.npz").architecture["posemb"] == "1d"


def test_equal_files_are_equal_bytes(written):
  assert written("rope2d", "a.npz").read_bytes() == written(
      "rope2d", "b.npz").read_bytes()

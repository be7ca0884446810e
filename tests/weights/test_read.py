import json

import numpy as np
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.weights import model_json, read
from vit_jax.weights.formats import npz, safetensors
from vit_jax.weights.names import flax, timm


@pytest.fixture
def saved(tmp_path, small_model, random_flat):
  """Returns a factory: saves a small model, returns its path."""

  def make(said=None, size=(8, 8), **changes):
    npz.save(tmp_path / "model.npz", random_flat(small_model(**changes), size))
    if said is not None:
      model_json.write(tmp_path / "model.npz", said)
    return tmp_path / "model.npz"

  return make


def test_the_file_alone_is_enough(saved, small_model):
  file = read.read(saved())
  assert file.model() == small_model()
  assert file.image_size == (8, 8) and file.grid() == (2, 2)
  assert file.dialect == "released" and file.metadata == {}
  assert file.model(num_classes=3) == small_model(num_classes=3)


def test_the_description_adds_what_arrays_cannot_show(saved, small_model):
  file = read.read(saved(
      {"architecture": {"gelu": "erf"}, "image_size": [8, 24]}, (8, 24)))
  assert file.model() == small_model(gelu="erf")
  assert file.grid() == (2, 6)


@pytest.mark.parametrize("said, message", [
    ({"architecture": {"width": 64, "num_heads": 3}},
     "width: 64 said, 48 found; num_heads: 3 said, 4 found"),
    ({"architecture": {"patch_size": [8, 8]}}, r"8\] said, \[4, 4\] found"),
    ({"image_size": [8, 12]}, r"a grid of 2x3, said, 4 patches found"),
    ({"class_names": ["a", "b"]}, "class_names: 2 said, 5 found"),
])
def test_contradictions_are_an_error(saved, said, message):
  path = saved(said)
  with pytest.raises(CheckpointError, match=message) as error:
    read.read(path)
  assert "model.json contradicts the arrays of" in str(error.value)
  assert "\n" not in str(error.value)


def test_other_architectures_of_the_same_shapes_do_not_contradict(saved):
  read.read(saved({"architecture": {
      "patch_size": [4, 4], "resnet": None, "pooling": "cls"}}))


@pytest.mark.parametrize("pooling", ["cls", "gap"])
def test_optimiser_state_is_not_even_read(
    tmp_path, small_model, random_flat, pooling, assert_same):
  flat = random_flat(small_model(pooling=pooling))
  theirs = {f"opt/target/{n}": a
            for n, a in flax.encode(flat, "released").items()}
  theirs |= {"opt/state/step": np.int32(3),
             "opt/state/param_states/cls/grad_ema": np.full(3, np.nan)}
  np.savez(tmp_path / "f.npz", **theirs)
  file = read.read(tmp_path / "f.npz")
  assert_same(file.flat, flat)
  assert file.dialect == "released opt/target/"


def test_timm_arrays_without_a_description(
    tmp_path, small_model, random_flat, assert_same):
  model = small_model(width=192, num_heads=3)  # as Ti: the heads are known
  flat = random_flat(model)
  path = tmp_path / "model.safetensors"
  safetensors.save(path, timm.encode(flat))
  file = read.read(path)
  assert file.model() == model.clone(gelu="erf")
  assert file.dialect == "timm"
  assert_same({n: np.ascontiguousarray(a) for n, a in file.flat.items()}, flat)
  assert read.read(path, num_heads=6).model().num_heads == 6
  with pytest.raises(CheckpointError, match=r"a timm ViT with 5 heads .*; say"):
    read.read(path, num_heads=5)


def test_timm_arrays_of_an_unknown_width(tmp_path, small_model, random_flat):
  path = tmp_path / "model.safetensors"
  safetensors.save(path, timm.encode(random_flat(small_model())))
  with pytest.raises(CheckpointError, match="number of heads .* width 48"):
    read.read(path)
  assert read.read(path, num_heads=4).model() == small_model(gelu="erf")
  model_json.write(path, {"architecture": {"num_heads": 4, "gelu": "tanh"}})
  assert read.read(path).model() == small_model()


def test_the_description_may_be_inside(tmp_path, small_model, random_flat):
  path = tmp_path / "model.safetensors"
  safetensors.save(path, timm.encode(random_flat(small_model())), {
      read.EMBEDDED: json.dumps({"architecture": {"num_heads": 4}})})
  assert read.read(path).model() == small_model(gelu="erf")


def test_timm_without_a_position_for_the_class_token(
    tmp_path, small_model, random_flat):
  flat = random_flat(small_model())
  theirs = timm.encode(flat)
  theirs["pos_embed"] = theirs["pos_embed"][:, 1:]  # timm's no_embed_class
  path = tmp_path / "model.safetensors"
  safetensors.save(path, theirs)
  got = read.read(path, num_heads=4).flat[flax.POSEMB]
  assert not got[:, 0].any()
  np.testing.assert_array_equal(got[:, 1:], flat[flax.POSEMB][:, 1:])


def test_safetensors_under_our_own_names(
    tmp_path, small_model, random_flat, assert_same):
  flat = random_flat(small_model())
  safetensors.save(tmp_path / "m.safetensors", flat)
  file = read.read(tmp_path / "m.safetensors")
  assert file.dialect == "linen" and file.model() == small_model()
  assert_same(file.flat, flat)

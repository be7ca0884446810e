import json

import numpy as np
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.weights.convert import convert
from vit_jax.weights.description import EMBEDDED
from vit_jax.weights.formats import safetensors
from vit_jax.weights.model_json import write_model_json
from vit_jax.weights.names import google, timm
from vit_jax.weights.posemb_grid import POSEMB
from vit_jax.weights.read import read_weights


def encode(flat):
  """Returns parameters under timm's names."""
  return timm.CODEC.encode(flat, {})[0]


@pytest.fixture
def saved(tmp_path, small_model, random_flat, save_npz):
  """Returns a factory: saves a small model, returns its path."""

  def make(description=None, size=(8, 8), **changes):
    save_npz(tmp_path / "model.npz", random_flat(small_model(**changes), size))
    if description is not None:
      write_model_json(tmp_path / "model.npz", description)
    return tmp_path / "model.npz"

  return make


def test_the_file_alone_is_enough(saved, small_model):
  file = read_weights(saved())
  assert file.model() == small_model()
  assert file.image_size == (8, 8) and file.grid() == (2, 2)
  assert file.dialect == "released" and file.metadata == {}
  assert file.model(num_classes=3) == small_model(num_classes=3)


def test_the_description_adds_what_arrays_cannot_show(saved, small_model):
  file = read_weights(saved(
      {"architecture": {"gelu": "erf"}, "image_size": [8, 24]}, (8, 24)))
  assert file.model() == small_model(gelu="erf")
  assert file.grid() == (2, 6)


@pytest.mark.parametrize("description, message", [
    ({"architecture": {"width": 64, "num_heads": 3}},
     "width is 64, but 48 in the arrays; num_heads is 3, but 4 in the arrays"),
    ({"architecture": {"patch_size": [8, 8]}}, r"is \[8, 8\], but \[4, 4\] in"),
    ({"image_size": [8, 12]}, r"which is 2x3 patches, but 4 in the arr"),
    ({"class_names": ["a", "b"]}, "class_names are 2, but 5 in the arrays"),
])
def test_contradictions_are_an_error(saved, description, message):
  path = saved(description)
  with pytest.raises(CheckpointError, match=message) as error:
    read_weights(path)
  assert "model.json contradicts the arrays of" in str(error.value)
  assert "\n" not in str(error.value)


def test_other_architectures_of_the_same_shapes_do_not_contradict(saved):
  read_weights(saved({"architecture": {
      "patch_size": [4, 4], "resnet": None, "pooling": "cls"}}))


@pytest.mark.parametrize("pooling", ["cls", "gap"])
def test_optimiser_state_is_not_even_read(
    tmp_path, small_model, random_flat, pooling, assert_same):
  flat = random_flat(small_model(pooling=pooling))
  theirs = {f"opt/target/{n}": a
            for n, a in google.encode(flat, "released").items()}
  theirs |= {"opt/state/step": np.int32(3),
             "opt/state/param_states/cls/grad_ema": np.full(3, np.nan)}
  np.savez(tmp_path / "f.npz", **theirs)
  file = read_weights(tmp_path / "f.npz")
  assert_same(file.flat, flat)
  assert file.dialect == "released opt/target/"


def test_timm_arrays_without_a_description(
    tmp_path, small_model, random_flat, assert_same):
  model = small_model(width=192, num_heads=3)  # as Ti: the heads are known
  flat = random_flat(model)
  path = tmp_path / "model.safetensors"
  safetensors.write_safetensors(path, encode(flat))
  file = read_weights(path)
  assert file.model() == model.clone(gelu="erf")
  assert file.dialect == "timm"
  assert_same({n: np.ascontiguousarray(a) for n, a in file.flat.items()}, flat)
  assert read_weights(path, num_heads=6).model().num_heads == 6
  with pytest.raises(CheckpointError, match="a timm ViT with 5 heads .*; pass"):
    read_weights(path, num_heads=5)


def test_timm_arrays_of_an_unknown_width(tmp_path, small_model, random_flat):
  path = tmp_path / "model.safetensors"
  safetensors.write_safetensors(path, encode(random_flat(small_model())))
  with pytest.raises(CheckpointError, match="number of heads .* width 48"):
    read_weights(path)
  assert read_weights(path, num_heads=4).model() == small_model(gelu="erf")
  write_model_json(path, {"architecture": {"num_heads": 4, "gelu": "tanh"}})
  assert read_weights(path).model() == small_model()


def test_the_description_may_be_inside(tmp_path, small_model, random_flat):
  path = tmp_path / "model.safetensors"
  safetensors.write_safetensors(path, encode(random_flat(small_model())), {
      EMBEDDED: json.dumps({"architecture": {"num_heads": 4}})})
  assert read_weights(path).model() == small_model(gelu="erf")


def test_timm_without_a_position_for_the_class_token(
    tmp_path, small_model, random_flat):
  flat = random_flat(small_model())
  theirs = encode(flat)
  theirs["pos_embed"] = theirs["pos_embed"][:, 1:]  # timm's no_embed_class
  path = tmp_path / "model.safetensors"
  safetensors.write_safetensors(path, theirs)
  got = read_weights(path, num_heads=4).flat[POSEMB]
  assert not got[:, 0].any()
  np.testing.assert_array_equal(got[:, 1:], flat[POSEMB][:, 1:])


def test_safetensors_under_our_own_names(
    tmp_path, small_model, random_flat, assert_same):
  flat = random_flat(small_model())
  safetensors.write_safetensors(tmp_path / "m.safetensors", flat)
  file = read_weights(tmp_path / "m.safetensors")
  assert file.dialect == "linen" and file.model() == small_model()
  assert_same(file.flat, flat)


@pytest.mark.parametrize("missing", [
    "head/bias", "head/kernel", "pre_logits/bias", "pre_logits/kernel"])
def test_half_of_an_optional_layer_is_damage(
    tmp_path, small_model, random_flat, save_npz, missing):
  flat = random_flat(small_model(pre_logits=16))
  del flat[missing]
  save_npz(tmp_path / "model.npz", flat)
  with pytest.raises(CheckpointError, match=f"{missing} is missing"):
    read_weights(tmp_path / "model.npz")


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_a_description_written_with_other_arrays_is_refused(
    saved, tmp_path, suffix):
  first, second = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
  convert(saved(), first)
  other = read_weights(first)
  other.flat["head/bias"] = other.flat["head/bias"] + 1
  convert(other, second)
  assert read_weights(second).metadata["digest"] != read_weights(
      first).metadata["digest"]
  second.replace(first)
  with pytest.raises(CheckpointError, match="written with other arrays") as e:
    read_weights(first)
  assert "a.json" in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize("change, message", [
    ({"class_names": [1, 2, 3, 4, 5]}, "1 is among the class_names"),
    ({"architecture": {"ln_eps": "foo"}}, "ln_eps is 'foo'"),
    ({"architecture": {"ln_eps": 1000.0}}, "ln_eps is 1000.0"),
    ({"architecture": {"gelu": 3}}, "gelu is 3"),
    ({"digest": 7}, "digest is 7")])
def test_values_that_no_model_has_are_refused(saved, change, message):
  with pytest.raises(CheckpointError, match=message) as error:
    read_weights(saved(change))
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [
    "[" * 100_000, '{"a": ' + "1" * 5000 + "}", "null", "3"])
def test_a_description_that_is_no_object_is_one_line(saved, text):
  path = saved()
  path.with_suffix(".json").write_text(text)
  with pytest.raises(CheckpointError, match=r"model\.json: ") as error:
    read_weights(path)
  assert "\n" not in str(error.value)


def test_a_flipped_bit_in_the_description_inside_is_seen(saved, tmp_path):
  path = tmp_path / "b.npz"
  convert(saved({"architecture": {"gelu": "erf"}}), path)
  path.with_suffix(".json").unlink()
  whole = read_weights(path)
  assert whole.architecture["gelu"] == "erf"
  content = path.read_bytes()
  begin = content.rindex(b'{"vit_jax"')
  for at in range(begin + 12, len(content), 3):
    damaged = bytearray(content)
    damaged[at] ^= 1 << at % 8
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="description inside"):
      read_weights(path)

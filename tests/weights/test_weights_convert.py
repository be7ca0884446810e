import dataclasses
import json

import numpy as np
import pytest

from vit_jax.errors import CheckpointError, UsageError
from vit_jax.weights.convert import convert, write_weights
from vit_jax.weights.model_json import (
  model_json_path,
  read_model_json,
  write_model_json,
)
from vit_jax.weights.names import timm
from vit_jax.weights.read import read_weights

GOLDENS = ["vit_i21k_layout", "hybrid_layout", "gap_layout", "r_ti_layout",
           "vit_i21k_big_vision_scan_layout", "vit_i21k_opt_target_prefix"]


@pytest.mark.parametrize("name", GOLDENS)
def test_there_and_back_again(tmp_path, goldens, assert_same, name):
  src = goldens / f"{name}.npz"
  assert convert(src, tmp_path / "a.safetensors") == "timm"
  convert(tmp_path / "a.safetensors", tmp_path / "b.npz", "linen")
  assert convert(tmp_path / "b.npz", tmp_path / "c.npz") == "linen"
  want, got = read_weights(src), read_weights(tmp_path / "c.npz")
  flat = want.flat
  if want.model().resnet is not None:  # timm's epsilons came along
    flat = timm.stem_for_timm(flat)
    want = dataclasses.replace(
        want, architecture=want.architecture | {"stem_eps": "timm"})
  assert_same(got.flat, flat)
  assert got.model() == want.model()  # GELU and heads came along
  assert got.image_size == want.image_size
  assert got.dialect == "linen"


def test_released_files_come_back_byte_for_byte(tmp_path, goldens):
  src = goldens / "vit_i21k_linen_names.npz"
  convert(src, tmp_path / "a.npz", "released")
  want = dict(np.load(goldens / "vit_i21k_layout.npz"))
  got = dict(np.load(tmp_path / "a.npz"))
  assert got.keys() == want.keys()
  assert all(np.array_equal(got[n], want[n]) for n in want)


@pytest.mark.parametrize("name, dialect", [
    ("vit_i21k_layout", "released"), ("vit_i21k_linen_names", "linen"),
    ("vit_i21k_opt_target_prefix", "released"),
    ("vit_i21k_big_vision_scan_layout", "big_vision")])
def test_the_dialect_is_kept_unless_said(tmp_path, goldens, name, dialect):
  assert convert(goldens / f"{name}.npz", tmp_path / "a.npz") == dialect
  assert read_weights(tmp_path / "a.npz").dialect.split()[0] == dialect


def test_the_description_is_carried_along(
    tmp_path, small_model, random_flat, save_npz):
  src, dst = tmp_path / "a.npz", tmp_path / "b.safetensors"
  save_npz(src, random_flat(small_model(), (8, 24)))
  description = {"image_size": [8, 24], "preprocess": "resize({size})",
          "class_names": list("abcde"), "scores": {"test": 0.5}}
  write_model_json(src, description)
  convert(src, dst)
  beside = read_model_json(dst)
  assert description.items() <= beside.items()
  assert beside["architecture"]["num_heads"] == 4
  assert beside["architecture"]["gelu"] == "tanh"
  json.dumps(beside)
  model_json_path(dst).unlink()  # the same is inside
  del beside["digest"]  # A file cannot hold what identifies it.
  assert read_weights(dst).metadata == beside


@pytest.mark.parametrize("dst, dialect, message", [
    ("a.pt", None, r"\.npz or \.safetensors was expected"),
    ("a.npz", "timm", "'timm' is unknown for .npz; it is one of released"),
    ("a.safetensors", "tim", r"did you mean 'timm'"),
    ("a.npz", "bigvision", r"did you mean 'big_vision'")])
def test_unknown_targets_are_refused(tmp_path, goldens, dst, dialect, message):
  with pytest.raises(UsageError, match=message):
    convert(goldens / "gap_layout.npz", tmp_path / dst, dialect)
  assert not list(tmp_path.iterdir())


def test_without_its_head_a_pre_trained_file_has_a_pooler(
    tmp_path, small_model, random_flat, describe):
  model = small_model(pre_logits=48)
  source = tmp_path / "a.npz"
  write_weights(source, random_flat(model), describe(
      model, (8, 8), class_names=list("abcde")))
  target = tmp_path / "model.safetensors"
  with pytest.raises(CheckpointError, match="--head=drop"):
    convert(source, target, "hugging_face")
  convert(source, target, "hugging_face", head="drop")
  file = read_weights(target)
  assert file.architecture["num_classes"] == 0
  assert file.architecture["pre_logits"] == 48
  assert "class_names" not in file.metadata
  assert not any(name.startswith("head/") for name in file.flat)
  with pytest.raises(UsageError, match="head='reset' is unknown"):
    convert(source, target, head="reset")

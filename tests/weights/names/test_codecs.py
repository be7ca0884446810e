"""What every dialect promises, and how a file's dialect is recognised."""

import chex
import numpy as np
import pytest

from vit_jax.errors import CheckpointError, UsageError
from vit_jax.weights.convert import convert, write_weights
from vit_jax.weights.formats import npz
from vit_jax.weights.names import codecs
from vit_jax.weights.names.codec import FileConfig
from vit_jax.weights.names.codecs import CODECS
from vit_jax.weights.posemb_grid import POSEMB
from vit_jax.weights.read import read_weights

every_codec = pytest.mark.parametrize(
    "codec", [codec for codec in CODECS if not codec.read_only],
    ids=lambda codec: codec.name)


@pytest.fixture
def flat(small_model, random_flat):
  flat = random_flat(small_model(depth=11))
  flat[POSEMB][:, 0] = 0  # big_vision has no other place for it than cls
  return flat


@every_codec
def test_what_is_encoded_is_recognised_by_one_and_decoded(codec, flat):
  arrays, architecture = codec.encode(flat, {"num_heads": 4})
  assert [c.name for c in CODECS if c.matches(arrays)] == [codec.name]
  assert codec.select(list(arrays), "f") == list(arrays)
  config = FileConfig("f", "f", {"architecture": architecture})
  decoded, layout = codec.decode(arrays, config)
  assert layout.split()[0] == codec.name
  chex.assert_trees_all_equal(decoded, flat, strict=True)
  changed = arrays | {
      name: array + 1 for name, array in list(arrays.items())[:1]}
  with pytest.raises(AssertionError):
    chex.assert_trees_all_equal(codec.decode(changed, config)[0], flat)


@every_codec
def test_halves_are_decoded_to_float32(codec, flat, caplog):
  arrays, _ = codec.encode(flat, {})
  halves = {name: array.astype(np.float16) for name, array in arrays.items()}
  decoded, _ = codec.decode(halves, FileConfig("f", "f", num_heads=4))
  assert {array.dtype.name for array in decoded.values()} == {"float32"}
  assert "f: arrays in float16 became float32" in caplog.text


@every_codec
def test_numerics_survive_every_dialect(
    codec, tmp_path, small_model, flat, describe):
  model = small_model(depth=11, gelu="erf", ln_eps=1e-5)
  path = tmp_path / f"model.{codec.container}"
  write_weights(path, flat, describe(model, (8, 8)), codec.name)
  file = read_weights(path)
  assert file.model() == model
  assert file.dialect.split()[0] == codec.name
  assert convert(file, tmp_path / f"b.{codec.container}") == codec.name


@every_codec
def test_unseen_facts_are_arguments_of_the_network(codec, small_model):
  assert {"gelu", "ln_eps"} <= codec.unseen.keys()
  small_model(**codec.unseen)


@pytest.mark.parametrize("name", [
    "vit_i21k_layout", "vit_i21k_linen_names", "vit_i21k_big_vision_layout",
    "vit_i21k_big_vision_scan_layout", "vit_i21k_opt_target_prefix",
    "vit_i21k_params_prefix", "hybrid_layout", "gap_layout", "r_ti_layout"])
def test_a_golden_is_of_one_dialect(goldens, name):
  names = npz.read_npz(goldens / f"{name}.npz").keys()
  assert len([codec for codec in CODECS if codec.matches(names)]) == 1


def test_names_of_no_dialect_are_refused():
  with pytest.raises(CheckpointError, match="f.pt: no Vision Transformer"):
    codecs.recognise(["layer1.0.conv1.weight"], "f.pt")


def test_an_unknown_dialect_is_answered_with_the_list():
  with pytest.raises(UsageError) as error:
    codecs.codec_named("tim")
  assert "did you mean 'timm'" in str(error.value)
  for codec in CODECS:
    assert codec.name in str(error.value)
  with pytest.raises(UsageError, match="unknown for .npz; it is one of rel"):
    codecs.codec_named("timm", "npz")

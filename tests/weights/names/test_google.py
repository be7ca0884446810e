import numpy as np
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.weights import trees
from vit_jax.weights.names import codecs, google
from vit_jax.weights.posemb_grid import POSEMB

LAYOUTS = ("released", "linen", "big_vision")


@pytest.fixture
def flat(small_model, random_flat):
  return random_flat(small_model(pre_logits=8))


@pytest.fixture
def warnings(monkeypatch):
  """Returns the list of warnings that were logged."""
  logged = []
  monkeypatch.setattr(
      google.logging, "warning", lambda text, *args: logged.append(text % args))
  return logged


@pytest.mark.parametrize(
    "prefix", ["", "opt/target/", "params/", "params/img/"])
@pytest.mark.parametrize("numbering", ["linen", "released"])
def test_any_prefix_with_any_numbering(flat, assert_same, prefix, numbering):
  theirs = {prefix + n: a for n, a in google.encode(flat, numbering).items()}
  got, dialect = google.normalise(theirs)
  assert dialect == f"{numbering} {prefix}".strip()
  assert_same(got, flat)


@pytest.mark.parametrize("prefix, state", [
    ("opt/target/", ["opt/state/step", "opt/state/param_states/cls/grad_ema"]),
    ("params/", ["opt/0/mu/cls", "extra/seconds"]),
    ("params/img/", ["params/txt/head/kernel", "params/t", "params/b"]),
    ("", ["opt/state/step", "opt_state/0/mu/cls"]),
])
def test_what_is_no_parameter_is_left_out_and_counted(
    flat, assert_same, warnings, prefix, state):
  theirs = {prefix + n: a for n, a in flat.items()}
  assert_same(google.normalise(theirs)[0], flat)
  assert not warnings
  names = [*theirs, *state]
  assert google.select_parameters(names) == list(theirs)
  got, _ = google.normalise(
      theirs | {name: np.float32(0) for name in state}, "file.npz")
  assert_same(got, flat)
  assert len(warnings) == 2  # once a call
  assert f"file.npz: ignored {len(state)} arrays" in warnings[1]


def test_unknown_arrays_stay_to_be_reported(flat):
  got, _ = google.normalise(
      {f"params/{n}": a for n, a in flat.items()} | {"other/x": np.ones(2)})
  assert "other/x" in got


def test_blocks_keep_their_natural_order(small_model, random_flat, assert_same):
  flat = random_flat(small_model(depth=12))
  stacked = trees.stack_blocks(flat)
  name = "LayerNorm_0/bias"
  rows = stacked[f"Transformer/encoderblock/{name}"]
  assert rows.shape == (12, 48)
  np.testing.assert_array_equal(
      rows[10], flat[f"Transformer/encoderblock_10/{name}"])
  assert not np.array_equal(
      rows[2], flat[f"Transformer/encoderblock_10/{name}"])
  assert_same(trees.unstack_blocks(stacked), flat)
  assert_same(google.normalise(stacked)[0], flat)
  assert google.normalise(stacked)[1] == "linen stacked"


@pytest.mark.parametrize("place", [
    POSEMB, "Transformer/pos_embedding", "pos_embedding"])
def test_position_embeddings_without_class_token(
    small_model, random_flat, assert_same, place):
  flat = random_flat(small_model(pooling="gap"))
  theirs = dict(flat)
  theirs[place] = theirs.pop(POSEMB)
  assert_same(google.normalise(theirs)[0], flat)


def test_a_folded_row_becomes_zeros(flat, assert_same):
  theirs = dict(flat)
  theirs["pos_embedding"] = theirs.pop(POSEMB)[:, 1:]
  want = flat | {POSEMB: flat[POSEMB].copy()}
  want[POSEMB][:, 0] = 0
  assert_same(google.normalise(theirs)[0], want)
  # In the middle place both forms occur: a square number of rows is folded.
  theirs["Transformer/pos_embedding"] = theirs.pop("pos_embedding")
  assert_same(google.normalise(theirs)[0], want)
  theirs["Transformer/pos_embedding"] = flat[POSEMB]
  assert_same(google.normalise(theirs)[0], flat)


def test_group_norm_loses_and_gets_its_axes(
    small_model, random_flat, assert_same):
  flat = random_flat(small_model(
      resnet=(2, 1), resnet_width=0.5, patch_size=(1, 1)))
  theirs = google.encode(flat, "released")
  assert theirs["gn_root/scale"].shape == (1, 1, 1, 32)
  assert theirs["block2/unit1/gn_proj/bias"].shape == (1, 1, 1, 256)
  assert theirs["block1/unit2/conv1/kernel"].shape == (1, 1, 128, 32)
  assert_same(google.normalise(theirs)[0], flat)
  assert_same(google.encode(flat, "linen"), flat)


def test_map_heads_keep_their_names(small_model, random_flat, assert_same):
  flat = random_flat(small_model(pooling="map"))
  for layout in LAYOUTS:
    theirs = google.encode(flat, layout)
    assert any(n.endswith("MAPHead_0/LayerNorm_0/bias") for n in theirs)
    assert_same(google.normalise(theirs)[0], flat)


def test_halves_become_float32_and_are_mentioned(flat, warnings):
  theirs = flat | {"head/bias": flat["head/bias"].astype(np.float16)}
  got, dialect = google.normalise(theirs, "f.npz")
  assert dialect == "linen float16"
  assert got["head/bias"].dtype == np.float32
  assert warnings == ["f.npz: arrays in float16 became float32"]


def test_nothing_is_copied_without_need(flat):
  for layout in ("released", "linen"):
    theirs = google.encode(flat, layout)
    got, _ = google.normalise(theirs)
    assert all(np.shares_memory(got[n], flat[n]) for n in flat)
  got, _ = google.normalise(stacked := trees.stack_blocks(flat))
  for array in got.values():
    assert any(np.shares_memory(array, whole) for whole in stacked.values())


def test_no_vision_transformer():
  with pytest.raises(CheckpointError, match="f.npz: no Vision Transformer"):
    codecs.recognise({"resnet/conv": np.ones(3)}, "f.npz")

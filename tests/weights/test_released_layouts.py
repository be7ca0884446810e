"""The odd layouts of two buckets load by name: SAM with Adam, GSAM."""

import chex
import jax
import numpy as np
import pytest

from vit_jax.weights.hub import released
from vit_jax.weights.load import init_params, load
from vit_jax.weights.names import google


@pytest.fixture
def bucket(tmp_path, monkeypatch):
  """A folder of released files; returns a function that adds one."""
  monkeypatch.setenv("VIT_JAX_CHECKPOINTS", str(tmp_path))
  monkeypatch.setenv("VIT_JAX_CACHE", str(tmp_path / "cache"))

  def add(file, arrays):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    np.savez(path, **arrays)

  return add


def with_adam(flat):
  """The arrays as sam/ViT-S_16 holds them: parameters and two moments."""
  rng = np.random.default_rng(0)
  state = {"opt/state/step": np.int32(93_600)}
  for name, array in flat.items():
    for moment in ("grad_ema", "grad_sq_ema"):
      state[f"opt/state/param_states/{name}/{moment}"] = (
          rng.random(array.shape, np.float32))
  return {f"opt/target/{name}": a for name, a in flat.items()} | state


def logits(vit, images):
  images = (images.astype(np.float32) - 127.5) / 127.5
  return vit.model.apply({"params": vit.params}, images)[0]


def test_sam_with_the_state_of_adam(bucket, goldens):
  flat = dict(np.load(goldens / "vit_finetuned_layout.npz"))
  expected = np.load(goldens / "vit_finetuned_layout.expected.npz")
  arrays = with_adam(flat)
  bucket("sam/ViT-S_16.npz", arrays)
  vit = load("sam/ViT-S_16")
  found = logits(vit, expected["images"])
  assert len(jax.tree.leaves(vit.params)) == len(flat)
  assert np.abs(found - expected["logits"]).max() < 1e-5
  assert np.abs(found[::-1] - expected["logits"]).max() > 1e-3


def test_the_moments_are_not_taken_for_parameters(goldens):
  flat = dict(np.load(goldens / "vit_finetuned_layout.npz"))
  found, dialect = google.normalise(with_adam(flat))
  wanted, _ = google.normalise(flat)
  assert dialect.startswith("released opt/target/")
  chex.assert_trees_all_equal(found, wanted, strict=True)


def test_gsam_has_no_class_token(bucket, goldens):
  flat = dict(np.load(goldens / "gap_layout.npz"))
  expected = np.load(goldens / "gap_layout.expected.npz")
  assert "cls" not in flat
  bucket("gsam/ViT-S_16.npz", flat)
  vit = load("gsam/ViT-S_16.npz")
  assert vit.model.pooling == "gap"
  found = logits(vit, expected["images"])
  assert np.abs(found - expected["logits"]).max() < 1e-5
  assert np.abs(found[::-1] - expected["logits"]).max() > 1e-3


def test_gsam_with_the_position_embedding_at_the_top(bucket, goldens):
  # How its trainer, big_vision, writes it.
  flat = dict(np.load(goldens / "gap_layout.npz"))
  expected = np.load(goldens / "gap_layout.expected.npz")
  flat["pos_embedding"] = flat.pop(
      "Transformer/posembed_input/pos_embedding")
  bucket("gsam/ViT-B_16.npz", flat)
  found = logits(load("gsam/ViT-B_16"), expected["images"])
  assert np.abs(found - expected["logits"]).max() < 1e-5


def test_training_starts_from_a_name(bucket, goldens):
  flat = dict(np.load(goldens / "gap_layout.npz"))
  bucket("gsam/ViT-S_16.npz", flat)
  model = load("gsam/ViT-S_16").model.clone(num_classes=5)
  params, report = init_params("gsam/ViT-S_16", model, 48)
  assert params["head"]["kernel"].shape == (48, 5)
  assert not params["head"]["kernel"].any()
  np.testing.assert_array_equal(
      params["embedding"]["kernel"], flat["embedding/kernel"])


@pytest.mark.parametrize(["resolution", "pipeline"], [
    (224, "resize({size})"), (32, "resize_small(40)|central_crop(32)")])
def test_the_published_pipeline_is_for_its_resolution(
    bucket, goldens, monkeypatch, resolution, pipeline):
  bucket("gsam/ViT-S_16.npz", np.load(goldens / "gap_layout.npz"))
  rows = [row | dict(resolution=resolution, bytes=None,
                     preprocess="resize_small(40)|central_crop(32)")
          for row in released.released_table()]
  monkeypatch.setattr(released, "released_table", lambda: rows)
  vit = load("gsam/ViT-S_16")  # a file of 32 x 32
  assert vit.config["preprocess"] == pipeline
  assert vit.preprocess(goldens / "portrait.jpg").shape == (1, 32, 32, 3)

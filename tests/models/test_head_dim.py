"""Heads of a width of their own: 12 of 64 in a width of 512."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vit_jax
from vit_jax.errors import CheckpointError, UsageError
from vit_jax.models.variants import make_model
from vit_jax.weights.convert import convert
from vit_jax.weights.read import read_weights

SIZES = dict(num_classes=5, patch_size=4, width=16, depth=2, mlp_dim=24)
IMAGES = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)


def initialised(**options):
  model = make_model("Ti/16", **SIZES, **options)
  params = model.init(jax.random.key(0), jnp.asarray(IMAGES))["params"]
  rng = np.random.default_rng(1)
  return model, jax.tree.map(
      lambda x: x + 0.1 * rng.standard_normal(x.shape).astype(x.dtype), params)


def attention_of(params):
  return params["Transformer"]["encoderblock_0"][
      "MultiHeadDotProductAttention_0"]


def test_the_inner_width_is_free():
  model, params = initialised(num_heads=3, head_dim=8)
  attention = attention_of(params)
  assert attention["query"]["kernel"].shape == (16, 3, 8)
  assert attention["out"]["kernel"].shape == (3, 8, 16)
  logits, _ = model.apply({"params": params}, IMAGES)
  assert logits.shape == (2, 5)


def test_the_paper_s_width_is_the_default():
  model, params = initialised(num_heads=4)
  same, _ = initialised(num_heads=4, head_dim=4)
  np.testing.assert_array_equal(
      model.apply({"params": params}, IMAGES)[0],
      same.apply({"params": params}, IMAGES)[0])


def test_heads_of_zeros_change_nothing():
  """A head whose values are zeros adds nothing to the others."""
  model, params = initialised(num_heads=4)
  wider = make_model("Ti/16", **SIZES, num_heads=6, head_dim=4)

  def widen(path, x):
    name = jax.tree_util.keystr(path)
    if "MultiHead" not in name or x.ndim == 1:
      return x
    axis = 0 if "'out'" in name or x.ndim == 2 else 1
    extra = [(0, 2) if i == axis else (0, 0) for i in range(x.ndim)]
    return jnp.pad(x, extra)

  padded = jax.tree_util.tree_map_with_path(widen, params)
  np.testing.assert_allclose(
      model.apply({"params": params}, IMAGES)[0],
      wider.apply({"params": padded}, IMAGES)[0], atol=1e-6)


def test_what_does_not_fit_is_refused():
  with pytest.raises(UsageError, match="not divisible"):
    make_model("Ti/16", **SIZES, num_heads=3)
  with pytest.raises(UsageError, match="head_dim=0 is not a size"):
    make_model("Ti/16", **SIZES, num_heads=3, head_dim=0)
  # The pooling's own attention has heads that share the width.
  with pytest.raises(UsageError, match="not divisible"):
    make_model("Ti/16", **SIZES, num_heads=3, head_dim=8, pooling="map")


def test_a_file_shows_it(tmp_path):
  model, params = initialised(num_heads=3, head_dim=8)
  flat = {"/".join(k.key for k in path): np.asarray(x) for path, x in
          jax.tree_util.tree_flatten_with_path(params)[0]}
  np.savez(tmp_path / "model.npz", **flat)
  file = read_weights(tmp_path / "model.npz")
  assert file.architecture["head_dim"] == 8
  assert file.architecture["num_heads"] == 3
  vit = vit_jax.load(tmp_path / "model.npz")
  assert vit.model.variant_name == "custom/4"
  np.testing.assert_allclose(
      vit.model.apply({"params": vit.params}, IMAGES)[0],
      model.apply({"params": params}, IMAGES)[0], atol=1e-6)
  with pytest.raises(CheckpointError, match="heads of a width of their own"):
    convert(tmp_path / "model.npz", tmp_path / "timm.safetensors", "timm")


def test_multiply_adds():
  plain = make_model("Ti/16", **SIZES, num_heads=4)
  twice = make_model("Ti/16", **SIZES, num_heads=8, head_dim=4)
  # 2 blocks, 5 tokens, twice the inner width: 4 D^2 and 2 N D once more.
  more = 2 * 5 * (4 * 16 * 16 + 2 * 5 * 16)
  assert twice.macs((8, 8)) - plain.macs((8, 8)) == more

"""The whole model: inputs, heads, dtypes, initial statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.errors import UsageError
from vit_jax.models.inputs import normalize
from vit_jax.models.variants import make_model


def run(model, params, pictures, **kwargs):
  return jax.jit(lambda p, x: model.apply({"params": p}, x, **kwargs))(
      params, pictures)


def shapes(model, pictures):
  return jax.eval_shape(model.init, jax.random.key(0), pictures)["params"]


def test_uint8_equals_normalised_floats(tiny, images, random_params):
  pictures = images()
  params = random_params(tiny(depth=1), pictures)
  logits, _ = run(tiny(depth=1), params, pictures)
  floats = (pictures.astype(np.float32) - 127.5) / 127.5
  other = pictures.astype(np.float32) / 128 - 1
  found, _ = run(tiny(depth=1), params, floats)
  shifted, _ = run(tiny(depth=1), params, other)
  assert np.abs(shifted - logits).max() > 1e-3
  np.testing.assert_allclose(found, logits, atol=1e-6)


def test_values_end_at_minus_one_and_one():
  def image(values):
    return jnp.asarray(values, jnp.uint8).reshape(1, 1, -1, 1)

  ends = normalize(image([0, 255, 127, 128]), jnp.float32)
  np.testing.assert_allclose(
      ends.ravel(), [-1, 1, -1 / 255, 1 / 255], rtol=1e-6)
  # Every one of the 256 values stays a value of its own where it can.
  half = normalize(image(np.arange(256)), jnp.bfloat16)
  exact = normalize(image(np.arange(256)), jnp.float32)
  assert half.dtype == jnp.bfloat16
  np.testing.assert_array_equal(half, exact.astype(jnp.bfloat16))


def test_other_integers_are_refused(tiny, images):
  with pytest.raises(UsageError, match="images are int32; expected uint8"):
    shapes(tiny(), images().astype(np.int32))


@pytest.mark.parametrize(("sides", "grid"), [
    ((24, 24), (3, 3)), ((16, 40), (2, 5)), ((40, 16), (5, 2))])
def test_pictures_that_are_not_square(tiny, images, sides, grid):
  model, pictures = tiny(depth=1), images(*sides)
  params = shapes(model, pictures)
  rows, cols = model.grid(sides)
  assert (rows, cols) == grid
  assert params["Transformer"]["posembed_input"]["pos_embedding"].shape == (
      1, rows * cols + 1, 32)
  logits, aux = jax.eval_shape(
      lambda p, x: model.apply({"params": p}, x), params, pictures)
  assert logits.shape == (2, 5)
  assert aux["embedded"].shape == (2, rows * cols, 32)


def test_tokens_are_in_raster_order(tiny, images, random_params):
  pictures = images(16, 24)
  model = tiny(depth=1, patch_size=(8, 8))
  params = random_params(model, pictures)
  _, aux = run(model, params, pictures)
  floats = (pictures.astype(np.float64) - 127.5) / 127.5
  kernel, bias = params["embedding"]["kernel"], params["embedding"]["bias"]
  order = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
  expected = np.stack([
      np.einsum("bhwc,hwcd->bd",
                floats[:, 8 * i:8 * i + 8, 8 * j:8 * j + 8], kernel) + bias
      for i, j in order], axis=1)
  assert np.abs(expected[:, ::-1] - expected).max() > 1
  np.testing.assert_allclose(aux["embedded"], expected, atol=1e-4)


def test_left_over_pixels_are_not_seen_and_said(tiny, images, caplog):
  pictures = images(27, 24)
  with caplog.at_level("WARNING"):
    _, aux = jax.eval_shape(
        lambda x: tiny(depth=1).init_with_output(jax.random.key(0), x)[0],
        pictures)
  assert aux["embedded"].shape == (2, 9, 32)
  assert tiny().grid((27, 24)) == (3, 3)
  assert "the last 3 rows and 0 columns are not seen" in caplog.text


def test_pictures_smaller_than_a_patch_are_refused(tiny, images):
  with pytest.raises(UsageError, match="images of 7x24 hold no patch of 8x8"):
    shapes(tiny(), images(7, 24))


@pytest.mark.parametrize("pooling", ["cls", "gap", "map"])
def test_pooling_reads_the_right_tokens(tiny, images, random_params, pooling):
  pictures = images(16, 24)
  model = tiny(depth=1, pooling=pooling)
  params = random_params(model, pictures)
  logits, aux = run(model, params, pictures)
  assert ("cls" in params) == (pooling == "cls")
  assert ("MAPHead_0" in params) == (pooling == "map")
  assert aux["encoded"].shape == (2, 6 + (pooling == "cls"), 32)
  first, mean = aux["encoded"][:, 0], aux["encoded"].mean(axis=1)
  assert np.abs(first - mean).max() > 0.1
  if pooling != "map":
    np.testing.assert_allclose(
        aux["pre_logits"], first if pooling == "cls" else mean, atol=1e-5)
  expected = (np.asarray(aux["pre_logits"]) @ params["head"]["kernel"]
              + params["head"]["bias"])
  np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_map_head_attends_with_one_learned_query(tiny, images, random_params):
  pictures = images()
  model = tiny(depth=1, pooling="map")
  params = random_params(model, pictures)
  _, aux = run(model, params, pictures)
  head = params["MAPHead_0"]
  assert set(head) == {
      "probe", "MultiHeadDotProductAttention_0", "LayerNorm_0", "MlpBlock_0"}
  attention = head["MultiHeadDotProductAttention_0"]
  x = np.asarray(aux["encoded"])

  def project(name, tokens):
    return (np.einsum("bnd,dhk->bnhk", tokens, attention[name]["kernel"])
            + attention[name]["bias"])

  query = project("query", np.asarray(head["probe"]))[0, 0]
  logits = np.einsum("hk,bnhk->bhn", query, project("key", x)) / np.sqrt(8)
  weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  pooled = np.einsum("bhn,bnhk->bhk", weights, project("value", x))
  pooled = (np.einsum("bhk,hkd->bd", pooled, attention["out"]["kernel"])
            + attention["out"]["bias"])
  y = pooled - pooled.mean(-1, keepdims=True)
  y = y / np.sqrt((y**2).mean(-1, keepdims=True) + 1e-6)
  y = y * head["LayerNorm_0"]["scale"] + head["LayerNorm_0"]["bias"]
  mlp = head["MlpBlock_0"]
  hidden = np.asarray(jax.nn.gelu(
      y @ mlp["Dense_0"]["kernel"] + mlp["Dense_0"]["bias"]))
  expected = (pooled + hidden @ mlp["Dense_1"]["kernel"]
              + mlp["Dense_1"]["bias"])
  assert np.abs(expected - pooled).max() > 0.1
  np.testing.assert_allclose(aux["pre_logits"], expected, atol=1e-4)


def test_pre_logits_is_a_tanh_layer_before_the_head(
    tiny, images, random_params):
  pictures = images()
  model = tiny(depth=1, pre_logits=16)
  params = random_params(model, pictures)
  _, aux = run(model, params, pictures)
  assert params["head"]["kernel"].shape == (16, 5)
  linear = (np.asarray(aux["encoded"])[:, 0] @ params["pre_logits"]["kernel"]
            + params["pre_logits"]["bias"])
  assert np.abs(linear - np.tanh(linear)).max() > 0.01
  np.testing.assert_allclose(aux["pre_logits"], np.tanh(linear), atol=1e-5)
  assert make_model("Ti/16", num_classes=1, pre_logits=True).pre_logits == 192


def test_no_classes_gives_features(tiny, images, random_params):
  pictures = images()
  model = tiny(num_classes=0, depth=1)
  params = random_params(model, pictures)
  features, aux = run(model, params, pictures)
  assert "head" not in params
  assert features.shape == (2, 32)
  np.testing.assert_array_equal(features, aux["pre_logits"])


def test_aux_names(tiny, images):
  model, pictures = tiny(), images()
  _, aux = jax.eval_shape(
      lambda p, x: model.apply({"params": p}, x, capture_attention=(2,)),
      shapes(model, pictures), pictures)
  assert set(aux) == {"embedded", "block0", "block1", "block2", "encoded",
                      "pre_logits", "logits", "attention2"}


@pytest.mark.parametrize("resnet", [None, (1,)])
def test_bfloat16_stays_near_float32(tiny, images, random_params, resnet):
  options = dict(resnet=resnet, resnet_width=0.5, depth=1)
  pictures = images(32, 32)
  if resnet:
    options["patch_size"] = (2, 2)
  full = tiny(**options)
  params = random_params(full, pictures)
  expected, _ = run(full, params, pictures)
  half = tiny(**options, dtype=jnp.bfloat16)
  logits, aux = run(half, params, pictures)
  assert logits.dtype == expected.dtype == jnp.float32
  assert aux["block0"].dtype == aux["embedded"].dtype == jnp.bfloat16
  scale = float(expected.std())
  gap = float(np.abs(logits - expected).max())
  # The roundings show, and are those of 8 bits through one block.
  assert 1e-5 * scale < gap < 0.1 * scale
  assert {leaf.dtype for leaf in jax.tree.leaves(shapes(half, pictures))} == {
      jnp.dtype("float32")}


def test_qkv_bias_off_leaves_three_biases_out_of_each_block(tiny, images):
  params = shapes(tiny(qkv_bias=False), images())
  attention = params["Transformer"]["encoderblock_1"][
      "MultiHeadDotProductAttention_0"]
  assert [n for n in attention if "bias" in attention[n]] == ["out"]


def test_gelu_forms_differ_and_little(tiny, images, random_params):
  pictures = images()
  params = random_params(tiny(depth=1), pictures)
  tanh, _ = run(tiny(depth=1), params, pictures)
  erf, _ = run(tiny(depth=1, gelu="erf"), params, pictures)
  assert 0 < np.abs(tanh - erf).max() < 1e-2


def test_initial_statistics(tiny, images):
  model = tiny(width=96, mlp_dim=192, depth=1, head_bias_init=-10.0,
               pre_logits=96)
  params = jax.jit(model.init)(
      jax.random.key(0, impl="unsafe_rbg"), images(48, 48))["params"]
  block = params["Transformer"]["encoderblock_0"]
  table = params["Transformer"]["posembed_input"]["pos_embedding"]
  np.testing.assert_allclose(table.std(), 0.02, rtol=0.05)
  assert abs(float(table.mean())) < 2e-3
  assert not params["cls"].any()
  assert not params["head"]["kernel"].any()
  assert (params["head"]["bias"] == -10).all()
  bound = np.sqrt(6 / (96 + 192))
  for layer in ("Dense_0", "Dense_1"):
    dense = block["MlpBlock_0"][layer]
    assert 0.98 * bound < np.abs(dense["kernel"]).max() <= bound
    np.testing.assert_allclose(dense["bias"].std(), 1e-6, rtol=0.3)
  bound = np.sqrt(6 / (2 * 96))
  for name in ("query", "key", "value", "out"):
    attention = block["MultiHeadDotProductAttention_0"][name]
    assert 0.98 * bound < np.abs(attention["kernel"]).max() <= bound
    assert not attention["bias"].any()
  # lecun_normal: variance 1 / fan-in, cut off at two deviations.
  for kernel, fan in ((params["embedding"]["kernel"], 8 * 8 * 3),
                      (params["pre_logits"]["kernel"], 96)):
    np.testing.assert_allclose(kernel.std(), fan**-0.5, rtol=0.05)
    assert np.abs(kernel).max() < 2.4 * fan**-0.5
  for norm in (block["LayerNorm_0"], block["LayerNorm_1"],
               params["Transformer"]["encoder_norm"]):
    assert (norm["scale"] == 1).all() and not norm["bias"].any()


def test_a_fresh_head_answers_with_its_bias(tiny, images, random_params):
  model, pictures = tiny(depth=1), images()
  params = random_params(model, pictures)
  params["head"] = {"kernel": np.zeros((32, 5), np.float32),
                    "bias": np.full(5, -10, np.float32)}
  logits, _ = run(model, params, pictures)
  np.testing.assert_array_equal(logits, np.full((2, 5), -10))


@pytest.mark.parametrize("change, eps", [({}, 1e-6), ({"ln_eps": 1e-8}, 1e-8)])
def test_layer_norm_epsilon_is_1e_6(tiny, images, random_params, change, eps):
  """Tokens of variance 1e-6 are halved in variance by the epsilon."""
  model = tiny(depth=1, posemb="none", pooling="gap", num_classes=0, **change)
  pictures = images(8, 8, count=1)
  params = jax.tree.map(np.zeros_like, random_params(model, pictures))
  row = 1e-3 * np.tile([1.0, -1.0], 16)
  params["embedding"]["bias"] = row.astype(np.float32)
  params["Transformer"]["encoder_norm"]["scale"] += 1
  features, _ = run(model, params, pictures)
  np.testing.assert_allclose(features[0], row / np.sqrt(1e-6 + eps), rtol=1e-4)

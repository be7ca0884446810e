"""Attention against plain numpy, and what its options promise."""

import re
import types

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.errors import UsageError
from vit_jax.models import attention as attention_module
from vit_jax.models.attention import (
    attend,
    attend_by,
    attention_weights,
    choose_implementation,
)
from vit_jax.models.block import BlockConfig, MultiHeadAttention


def attention(num_heads, **options):
  """Returns the attention of a block with these options."""
  return MultiHeadAttention(BlockConfig(
      mlp_dim=8, num_heads=num_heads, **options))


def reference(params, x, y):
  """Equations 5 to 8, one head and one query at a time."""
  params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
  heads, width = params["query"]["kernel"].shape[1:]
  out = np.zeros((len(x), x.shape[1], x.shape[2]))
  weights = np.zeros((len(x), heads, x.shape[1], y.shape[1]))

  def project(name, tokens, h):
    part = params[name]
    bias = part["bias"][h] if "bias" in part else 0
    return tokens @ part["kernel"][:, h] + bias

  for b in range(len(x)):
    for h in range(heads):
      query, key = project("query", x[b], h), project("key", y[b], h)
      for i in range(x.shape[1]):
        logits = np.array([query[i] @ k for k in key]) / np.sqrt(width)
        weights[b, h, i] = np.exp(logits) / np.exp(logits).sum()
      out[b] += weights[b, h] @ project("value", y[b], h) @ (
          params["out"]["kernel"][h])
  return out + params["out"]["bias"], weights


@pytest.fixture
def tokens():
  rng = np.random.default_rng(1)
  return [rng.normal(size=(2, n, 12)).astype(np.float32) for n in (5, 7)]


def perturbed(params):
  key = jax.random.key(3)
  # Small enough that the outputs are of order one, as the tolerance is for.
  return jax.tree.map(
      lambda a: a + 0.3 * jax.random.normal(key, a.shape), params)


@pytest.mark.parametrize("implementation", ["auto", "einsum", "einsum_f32"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cross", [True, False])
def test_equals_numpy(tokens, implementation, bias, cross):
  x, y = tokens
  module = attention(3, qkv_bias=bias, attention=implementation)
  args = (x, y) if cross else (x,)
  params = perturbed(module.init(jax.random.key(0), *args)["params"])
  out, weights = module.apply({"params": params}, *args, capture=True)
  expected, expected_weights = reference(params, x, y if cross else x)
  changed = {**params, "key": jax.tree.map(lambda a: 1.1 * a, params["key"])}
  assert np.abs(reference(changed, x, args[-1])[0] - expected).max() > 1e-3
  np.testing.assert_allclose(out, expected, atol=2e-5)
  np.testing.assert_allclose(weights, expected_weights, atol=1e-5)


def test_weights_come_back_only_when_asked(tokens):
  module = attention(2)
  out, weights = module.init_with_output(jax.random.key(0), tokens[0])[0]
  assert out.shape == tokens[0].shape
  assert weights is None


def test_without_qkv_bias_only_out_has_one(tokens):
  module = attention(2, qkv_bias=False)
  params = module.init(jax.random.key(0), tokens[0])["params"]
  assert [name for name in params if "bias" in params[name]] == ["out"]


def test_softmax_dtype_is_that_of_the_query_or_float32():
  query = jax.random.normal(jax.random.key(0), (1, 64, 1, 8), jnp.bfloat16)
  half = attention_weights(query, query)
  careful = attention_weights(query, query, softmax_dtype=jnp.float32)
  assert half.dtype == careful.dtype == jnp.bfloat16
  exact = attention_weights(*(2 * [query.astype(jnp.float32)]))
  assert not np.array_equal(half, careful)
  error = [np.abs(np.asarray(w, np.float32) - exact).mean()
           for w in (half, careful)]
  assert error[1] < 0.9 * error[0]


def test_attention_dropout_acts_in_training_only(tokens):
  module = attention(2, attention_dropout=0.5)
  plain = attention(2)
  variables = module.init(jax.random.key(0), tokens[0])
  rngs = {"dropout": jax.random.key(1)}
  dropped, _ = module.apply(variables, tokens[0], train=True, rngs=rngs)
  off, _ = module.apply(variables, tokens[0], train=False)
  expected, _ = plain.apply(variables, tokens[0])
  assert not np.allclose(dropped, expected)
  np.testing.assert_array_equal(off, expected)


@pytest.fixture
def on_a_gpu(monkeypatch):
  monkeypatch.setattr(attention_module, "target", lambda: (
      types.SimpleNamespace(platform="gpu", device_kind="NVIDIA H100")))


def test_cudnn_is_chosen_on_gpus_in_16_bits_only(on_a_gpu):
  options = dict(dtype=jnp.bfloat16, head_dim=64, needs_weights=False)
  assert choose_implementation("auto", **options) == "cudnn"
  for change in (dict(dtype=jnp.float32), dict(head_dim=60),
                 dict(head_dim=256), dict(needs_weights=True)):
    assert choose_implementation("auto", **options | change) == "einsum"
  assert choose_implementation("einsum_f32", **options) == "einsum_f32"
  # Captured weights exist in the plain form alone.
  assert choose_implementation(
      "cudnn", **options | dict(needs_weights=True)) == "einsum"


def test_a_kernel_that_is_not_there_is_einsum():
  options = dict(dtype=jnp.bfloat16, head_dim=64, needs_weights=False)
  for name in ("auto", "cudnn", "fused"):
    assert choose_implementation(name, **options) == "einsum"


@pytest.mark.parametrize("change", [
    dict(dtype=jnp.float32), dict(head_dim=60), dict(head_dim=256)])
def test_what_cudnn_cannot_compute_is_refused(on_a_gpu, change):
  options = dict(dtype=jnp.bfloat16, head_dim=64, needs_weights=False)
  with pytest.raises(UsageError, match="attention=cudnn needs 16 bits"):
    choose_implementation("cudnn", **options | change)


@pytest.mark.parametrize(("queries", "keys"), [(4, 4), (1, 6), (5, 7)])
def test_cudnn_is_given_even_numbers_of_tokens(monkeypatch, queries, keys):
  plain, seen = jax.nn.dot_product_attention, []

  def stand_in(query, key, value, *, implementation, **lengths):
    assert implementation == "cudnn"
    seen.append((query.shape[1], key.shape[1]))
    return plain(query, key, value, implementation="xla", **lengths)

  monkeypatch.setattr(jax.nn, "dot_product_attention", stand_in)
  given = [jax.random.normal(key, (2, n, 2, 8)) for key, n in zip(
      jax.random.split(jax.random.key(0), 3), (queries, keys, keys),
      strict=True)]

  def results(function):
    out, backward = jax.vjp(function, *given)
    return out, *backward(jnp.cos(out))

  found = results(lambda *x: attend_by("cudnn", *x))
  assert seen and all(n % 2 == 0 for pair in seen for n in pair)
  for a, b in zip(found, results(attend), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("tokens", [16, 17])
def test_training_with_cudnn_can_be_lowered_for_a_gpu(monkeypatch, tokens):
  # Of JAX's own: what it asks the GPU, which is not here.
  cudnn = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
  monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91000)
  monkeypatch.setattr(cudnn, "check_compute_capability", lambda _: True)
  x = jax.ShapeDtypeStruct((2, tokens, 2, 64), jnp.bfloat16)
  text = jax.jit(jax.grad(
      lambda q, k, v: attend_by("cudnn", q, k, v).astype(jnp.float32).sum(),
      (0, 1, 2))).trace(x, x, x).lower(lowering_platforms=("cuda",)).as_text()
  calls = re.findall(r"custom_call @(\S+?)\(", text)
  assert calls == ["__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward"]


def test_unknown_implementation_is_refused():
  with pytest.raises(UsageError, match="did you mean 'einsum'"):
    choose_implementation(
        "einsun", dtype=jnp.float32, head_dim=8, needs_weights=False)


def test_xavier_bound_is_that_of_the_flat_matrix():
  width = 96
  module = attention(4)
  params = module.init(
      jax.random.key(0), jnp.zeros((1, 2, width)))["params"]
  bound = np.sqrt(6 / (2 * width))
  for name in ("query", "key", "value", "out"):
    kernel = params[name]["kernel"]
    assert 0.97 * bound < np.abs(kernel).max() <= bound
    np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.03)
    assert not params[name]["bias"].any()
  assert isinstance(module, nn.Module)


def heads_of(size=(2, 33, 3, 8), scale=1.0, dtype=jnp.float32):
  keys = jax.random.split(jax.random.key(5), 3)
  return [scale * jax.random.normal(k, size).astype(dtype) for k in keys]


def through_weights(query, key, value):
  return jnp.einsum(
      "bhqs,bshk->bqhk", attention_weights(query, key), value)


def test_dividing_last_gives_the_same_numbers_and_gradients():
  heads = heads_of(scale=2.0)
  np.testing.assert_allclose(
      attend(*heads), through_weights(*heads), atol=5e-6)
  swapped = attend(heads[1], heads[0], heads[2])
  assert np.abs(swapped - attend(*heads)).max() > 0.1

  def loss(function, *heads):
    return jnp.sum(jnp.sin(function(*heads)))

  for i in (1, 2, 3):
    np.testing.assert_allclose(
        jax.grad(loss, i)(attend, *heads),
        jax.grad(loss, i)(through_weights, *heads), atol=1e-5)


def test_dividing_last_does_not_overflow():
  query, key, value = heads_of(scale=60.0)
  assert np.abs(query).max() ** 2 > 100 * np.log(np.finfo(np.float32).max)
  found = attend(query, key, value)
  np.testing.assert_allclose(
      found, through_weights(query, key, value), rtol=1e-4, atol=1e-3)


def test_dividing_last_is_as_exact_in_bfloat16():
  exact = through_weights(*heads_of())
  half = heads_of(dtype=jnp.bfloat16)
  errors = [np.abs(np.asarray(f(*half), np.float32) - exact).mean()
            for f in (attend, through_weights)]
  assert 0 < errors[0] < 1.1 * errors[1]

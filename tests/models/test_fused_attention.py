"""The attention kernel against XLA's form, in Pallas' interpreter."""

import functools
import types

import jax
from jax.experimental import pallas as pl
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.devices.partition import by_heads, over
from vit_jax.devices.sharding import make_mesh
from vit_jax.errors import UsageError
from vit_jax.models import attention
from vit_jax.models.attention import attend, choose_implementation
from vit_jax.models.fused_attention import fused_attend
from vit_jax.models.vit import VisionTransformer


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
  """Kernels run as ordinary XLA, on any device."""
  monkeypatch.setattr(
      pl, "pallas_call", functools.partial(pl.pallas_call, interpret=True))


def operands(batch, tokens, heads, dim, dtype=jnp.float32):
  """Returns query, key, value and a gradient of the output."""
  return [jax.random.normal(key, (batch, tokens, heads, dim), dtype)
          for key in jax.random.split(jax.random.key(0), 4)]


def results(function, query, key, value, gradient):
  """Returns the output and the gradients of query, key and value."""
  out, backward = jax.vjp(function, query, key, value)
  return [np.asarray(x, np.float32) for x in (out, *backward(gradient))]


def farthest(found, expected):
  """Returns the largest difference, as a part of the largest value."""
  return max(np.abs(a - b).max() / np.abs(b).max()
             for a, b in zip(found, expected, strict=True))


def slow(*values):
  return pytest.param(*values, marks=pytest.mark.slow)


# Two images fill a program, or one does; one head is a group, or 2, 8, 16, or
# all heads, where they do not fill groups of lanes; 1,370 are several tiles.
@pytest.mark.parametrize(("batch", "tokens", "heads", "dim"), [
    (2, 65, 2, 8), (1, 65, 3, 64), (1, 65, 16, 72), (2, 197, 2, 64),
    slow(1, 257, 8, 80), slow(2, 197, 1, 128), slow(1, 577, 2, 64),
    slow(1, 577, 16, 72), slow(1, 1370, 2, 64), slow(1, 1370, 8, 80),
    slow(1, 1025, 2, 64), slow(1, 700, 2, 64)])
def test_output_and_gradients_are_those_of_xla(batch, tokens, heads, dim):
  given = operands(batch, tokens, heads, dim)
  expected = results(attend, *given)
  found = results(fused_attend, *given)
  assert farthest(found, expected) < 3e-6


@pytest.mark.parametrize("vector_dtype", [jnp.float32, jnp.bfloat16])
def test_in_bfloat16_it_rounds_no_more_than_xla(vector_dtype):
  given = operands(2, 197, 2, 64, jnp.bfloat16)
  exact = results(attend, *(x.astype(jnp.float32) for x in given))
  found = results(lambda *x: fused_attend(*x, vector_dtype), *given)
  assert farthest(found, exact) < 1.5 * farthest(
      results(attend, *given), exact)
  assert farthest(found, exact) < 0.02


def test_large_logits_do_not_overflow():
  query, key, value, gradient = operands(1, 65, 2, 64)
  given = (100 * query, 100 * key, value, gradient)
  expected = results(attend, *given)
  found = results(fused_attend, *given)
  assert all(np.isfinite(x).all() for x in found)
  assert farthest(found[:1], expected[:1]) < 1e-4


@pytest.mark.parametrize("sizes", [
    dict(data=2, fsdp=2, tensor=2), dict(data=8), dict(data=1, tensor=8)])
def test_each_device_computes_its_images_and_heads(sizes):
  given = operands(8, 17, 4, 8)  # Four heads are not split over eight.
  expected = results(attend, *given)

  def split(query, key, value):
    return by_heads(fused_attend, query, key, value)

  found = jax.jit(over(make_mesh(**sizes), lambda *x: jax.vjp(
        split, *x[:3])[1](x[3])))(*given)
  assert farthest(map(np.asarray, found), expected[1:]) < 3e-6


def test_an_image_that_is_not_split_is_computed_whole():
  query, key, value, _ = operands(1, 17, 4, 8)
  split = over(make_mesh(data=8), lambda *x: by_heads(fused_attend, *x))
  np.testing.assert_allclose(
      split(query, key, value), attend(query, key, value), atol=1e-5)


@pytest.fixture
def on_a_tpu(monkeypatch):
  """Lets networks be traced as for a TPU; returns how to change which."""
  def become(kind="TPU v5 lite"):
    monkeypatch.setattr(attention, "target", lambda: types.SimpleNamespace(
        platform="tpu", device_kind=kind))

  become()
  return become


def test_a_network_is_the_same_with_it(on_a_tpu, monkeypatch):
  calls = []
  monkeypatch.setattr(attention, "fused_attend", lambda *x: (
      calls.append(x), fused_attend(*x))[1])
  images = jax.random.uniform(jax.random.key(1), (2, 16, 16, 3))
  network = dict(num_classes=3, patch_size=(4, 4), width=16, depth=1,
                 mlp_dim=32, num_heads=2)
  plain = VisionTransformer(**network, attention="einsum")
  fused = VisionTransformer(**network, attention="fused")
  params = jax.jit(plain.init)(jax.random.key(0), images)["params"]
  params = jax.tree.map(
      lambda x: x + 0.1 * jax.random.normal(jax.random.key(2), x.shape), params)

  def gradients(model):
    return jax.jit(jax.grad(lambda p: jnp.sum(
        model.apply({"params": p}, images)[0] ** 2)))(params)

  expected = gradients(plain)
  assert not calls
  found = gradients(fused)
  assert len(calls) == 1
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected),
                  strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5 * max(1, np.abs(b).max()))


def test_where_the_weights_are_needed_they_are_formed(on_a_tpu):
  options = dict(dtype=jnp.bfloat16, head_dim=64, needs_weights=False)
  assert choose_implementation("fused", **options) == "fused"
  assert choose_implementation(
      "fused", **options | dict(needs_weights=True)) == "einsum"
  # The probe of attention pooling has one query.
  assert choose_implementation(
      "fused", **options, same_tokens=False) == "einsum"
  # Not timed yet: it has to be asked for.
  assert choose_implementation("auto", **options) == "einsum"


@pytest.mark.parametrize("kind", ["TPU v2", "TPU v3"])
def test_generations_without_such_kernels_are_refused(on_a_tpu, kind):
  on_a_tpu(kind)
  with pytest.raises(UsageError, match="no kernel can be compiled for v[23]"):
    choose_implementation(
        "fused", dtype=jnp.bfloat16, head_dim=64, needs_weights=False)


@pytest.mark.parametrize(("tokens", "heads", "dim", "fits"), [
    (577, 12, 64, True), (1025, 16, 64, True), (1370, 12, 64, True),
    (257, 16, 80, True), (1370, 16, 80, False), (729, 16, 72, False),
    (2305, 12, 64, False)])
def test_what_does_not_fit_is_einsum(on_a_tpu, monkeypatch, tokens, heads, dim,
                                     fits):
  seen = []
  for name in ("fused_attend", "attend"):
    monkeypatch.setattr(attention, name, lambda *x, name=name: (
        seen.append(name), x[0])[1])
  x = jnp.zeros((1, tokens, heads, dim), jnp.bfloat16)
  attention.attend_by("fused", x, x, x)
  assert seen == ["fused_attend" if fits else "attend"]


def test_elsewhere_it_is_einsum():
  assert choose_implementation(
      "fused", dtype=jnp.float32, head_dim=64, needs_weights=False) == "einsum"


@pytest.mark.parametrize("kind", ["TPU v5 lite", "TPU v6 lite"])
def test_exponentials_take_what_the_chip_computes_in(
    on_a_tpu, monkeypatch, kind):
  on_a_tpu(kind)
  seen = []
  monkeypatch.setattr(attention, "fused_attend", lambda *x: (
      seen.append(x[3]), x[0])[1])
  attention.attend_by("fused", *operands(1, 4, 1, 8)[:3])
  assert seen == [jnp.bfloat16 if "v6" in kind else jnp.float32]

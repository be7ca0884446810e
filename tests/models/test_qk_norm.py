"""LayerNorm of queries and keys, as in ViT-22B."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.devices.sharding import make_mesh, tree_shardings
from vit_jax.models.block import BlockConfig, MultiHeadAttention
from vit_jax.models.variants import make_model


def attention(**options):
  return MultiHeadAttention(BlockConfig(mlp_dim=8, num_heads=3, **options))


@pytest.fixture
def tokens():
  return np.random.default_rng(0).normal(size=(2, 5, 12)).astype(np.float32)


def perturbed(params):
  leaves, tree = jax.tree.flatten(params)
  rng = np.random.default_rng(1)
  return jax.tree.unflatten(tree, [
      np.asarray(leaf) + 0.3 * rng.normal(size=leaf.shape).astype(np.float32)
      for leaf in leaves])


def test_the_weights_are_those_of_normalised_queries_and_keys(tokens):
  module = attention(qk_norm=True)
  params = perturbed(module.init(jax.random.key(0), tokens)["params"])
  _, weights = module.apply({"params": params}, tokens, capture=True)

  def heads(name):
    part = params[name]
    x = np.einsum("bnd,dhk->bnhk", tokens, part["kernel"]) + part["bias"]
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * params[f"{name}_ln"]["scale"]

  query, key = heads("query"), heads("key")
  logits = np.einsum("bqhk,bshk->bhqs", query, key) / np.sqrt(4)
  expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  np.testing.assert_allclose(weights, expected, atol=1e-5)
  plain = {k: v for k, v in params.items() if not k.endswith("_ln")}
  _, other = attention().apply({"params": plain}, tokens, capture=True)
  assert np.abs(other - expected).max() > 1e-2


@pytest.mark.parametrize("bias", [True, False])
def test_parameters_and_numbers_are_those_of_flax(tokens, bias):
  ours = attention(qk_norm=True, qkv_bias=bias)
  params = perturbed(ours.init(jax.random.key(0), tokens)["params"])
  theirs = nn.MultiHeadDotProductAttention(
      3, normalize_qk=True, use_bias=bias)
  assert jax.tree.structure(params["query_ln"]) == jax.tree.structure(
      {"scale": 0})
  if not bias:
    # Flax's use_bias is also about `out`.
    params["out"]["bias"] = np.zeros_like(params["out"]["bias"])
  found, _ = ours.apply({"params": params}, tokens)
  if not bias:
    params = params | {"out": {"kernel": params["out"]["kernel"]}}
  expected = theirs.apply({"params": params}, tokens)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_logits_do_not_grow_with_the_projections(tokens):
  def largest(**options):
    module = attention(**options)
    params = module.init(jax.random.key(0), tokens)["params"]
    loud = params | {name: {"kernel": 100 * params[name]["kernel"],
                            "bias": params[name]["bias"]}
                     for name in ("query", "key")}
    _, weights = module.apply({"params": loud}, tokens, capture=True)
    return float(weights.max())

  assert largest() > 0.999
  assert largest(qk_norm=True) < 0.99  # at most exp(2 sqrt(4))'s share


@pytest.mark.parametrize("options", [
    dict(), dict(scan=True, remat="full"), dict(pooling="map"),
    dict(block="axial", pooling="gap", posemb="relative")], ids=str)
def test_every_block_has_it_and_nothing_else(options):
  sizes = dict(num_classes=2, width=24, depth=2, mlp_dim=32, num_heads=2)
  images = jnp.zeros((2, 32, 32, 3))

  def make(**more):
    model = make_model("Ti/16", **sizes | options | more)
    params = jax.eval_shape(
        lambda: model.init(jax.random.key(0), images)["params"])
    return model, {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)}

  plain, without = make()
  model, params = make(qk_norm=True)
  added = set(params) - set(without)
  assert set(without) < set(params)
  assert {name.split("/", 2)[2].removeprefix("rows/").removeprefix("columns/")
          for name in added} == {
              f"MultiHeadDotProductAttention_0/{name}_ln/scale"
              for name in ("query", "key")}
  assert all(name.startswith("Transformer/encoderblock") for name in added)
  attentions = 1 if options.get("scan") else 2
  attentions *= 2 if options.get("block") else 1
  assert len(added) == 2 * attentions
  assert {params[name].shape[-1] for name in added} == {12}
  # Norms are not counted, and every parameter has a sharding.
  assert model.macs((32, 32)) == plain.macs((32, 32))
  tree_shardings(params, make_mesh())

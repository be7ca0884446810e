"""The parts in which families differ: registers, scales, norms and gates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.devices.sharding import make_mesh, tree_shardings
from vit_jax.errors import UsageError
from vit_jax.models.block import BlockConfig, MlpBlock
from vit_jax.models.residual import activation
from vit_jax.weights.trees import flatten

OPTIONS = [
    dict(registers=2), dict(registers=1, distilled=True),
    dict(layer_scale=True), dict(gated=True), dict(pre_norm=True),
    dict(final_norm="pooled", pooling="gap", registers=3),
    dict(final_norm="none"), dict(pooling="cls_gap", registers=1),
    dict(pooling="map", registers=1), dict(gelu="quick")]


def norm(x):
  x = x - x.mean(-1, keepdims=True)
  return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)


def run(model, params, pictures):
  return jax.jit(model.apply)({"params": params}, pictures)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_parameter_is_trained_and_has_a_sharding(
    tiny, images, random_params, options):
  model, pictures = tiny(depth=2, **options), images()
  params = random_params(model, pictures)
  tree_shardings(params, make_mesh())
  gradients = flatten(jax.jit(jax.grad(
      lambda p: (model.apply({"params": p}, pictures)[0] ** 2).sum()))(params))
  # A bias of the keys moves all logits of a query alike.
  still = {name for name, g in gradients.items() if np.abs(g).max() < 1e-6}
  assert still <= {name for name in gradients if name.endswith("key/bias")}


@pytest.mark.parametrize("options", OPTIONS[:6], ids=str)
def test_scanned_blocks_give_the_same(
    tiny, images, random_params, stack, options):
  model, pictures = tiny(**options), images()
  params = random_params(model, pictures)
  want, _ = run(model, params, pictures)
  got, _ = run(model.clone(scan=True), stack(params), pictures)
  np.testing.assert_allclose(got, want, atol=2e-5)


def test_registers_take_part_and_are_not_pooled(tiny, images, random_params):
  model, pictures = tiny(registers=2, pooling="gap"), images()
  params = random_params(model, pictures)
  logits, aux = run(model, params, pictures)
  assert aux["encoded"].shape[1] == 9 + 2 == 9 + model.prefix_tokens
  pooled = np.asarray(aux["encoded"])[:, 2:].mean(1)
  np.testing.assert_allclose(aux["pre_logits"], pooled, atol=1e-5)
  moved = params | {"registers": 2 * params["registers"]}
  assert np.abs(run(model, moved, pictures)[0] - logits).max() > 1e-3


def test_both_heads_are_averaged(tiny, images, random_params):
  model, pictures = tiny(registers=1, distilled=True), images()
  params = random_params(model, pictures)
  logits, aux = run(model, params, pictures)
  encoded = np.asarray(aux["encoded"])
  heads = [encoded[:, i] @ params[name]["kernel"] + params[name]["bias"]
           for i, name in enumerate(("head", "head_dist"))]
  np.testing.assert_allclose(logits, sum(heads) / 2, atol=1e-5)
  assert np.abs(heads[0] - heads[1]).max() > 0.1


def test_a_scale_of_zero_leaves_the_residual_stream(
    tiny, images, random_params):
  model, pictures = tiny(layer_scale=True, depth=1), images()
  params = random_params(model, pictures)
  block = params["Transformer"]["encoderblock_0"]
  assert block["LayerScale_0"]["scale"].shape == (32,)
  _, aux = run(model, params, pictures)
  still = {**block, **{f"LayerScale_{i}": {"scale": np.zeros(32, np.float32)}
                       for i in (0, 1)}}
  quiet = params | {"Transformer": params["Transformer"] | {
      "encoderblock_0": still}}
  _, off = run(model, quiet, pictures)
  table = params["Transformer"]["posembed_input"]["pos_embedding"]
  tokens = np.concatenate([np.broadcast_to(params["cls"], (2, 1, 32)),
                           aux["embedded"]], axis=1) + table
  np.testing.assert_allclose(off["block0"], tokens, atol=1e-5)
  assert np.abs(aux["block0"] - tokens).max() > 0.1


def test_norms_stand_where_they_are_said_to(tiny, images, random_params):
  pictures = images()
  for options, inside, outside in (
      (dict(pre_norm=True), {"pre_norm", "encoder_norm"}, set()),
      (dict(final_norm="pooled"), set(), {"pooled_norm"}),
      (dict(final_norm="none"), set(), set())):
    params = random_params(tiny(**options), pictures)
    names = {n for n in params["Transformer"] if n.endswith("norm")}
    assert names == inside
    assert {n for n in params if n.endswith("norm")} == outside
  model = tiny(final_norm="pooled", pooling="gap")
  params = random_params(model, pictures)
  _, aux = run(model, params, pictures)
  want = norm(np.asarray(aux["encoded"]).mean(1)) * (
      params["pooled_norm"]["scale"]) + params["pooled_norm"]["bias"]
  np.testing.assert_allclose(aux["pre_logits"], want, atol=1e-5)


def test_a_gate_multiplies(tiny):
  config = BlockConfig(mlp_dim=6, num_heads=1, gated=True)
  x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
  module = MlpBlock(config)
  params = jax.tree.map(
      np.asarray, module.init(jax.random.key(0), x, train=False)["params"])
  gate, hidden = (x @ params[n]["kernel"] + params[n]["bias"]
                  for n in ("Gate", "Dense_0"))
  want = (gate / (1 + np.exp(-gate)) * hidden) @ params["Dense_1"]["kernel"]
  got = module.apply({"params": params}, x, train=False)
  np.testing.assert_allclose(got, want + params["Dense_1"]["bias"], atol=1e-6)


def test_forms_of_gelu():
  x = jnp.linspace(-4, 4, 33).reshape(1, 1, -1)
  want = np.asarray(x) / (1 + np.exp(-1.702 * np.asarray(x)))
  np.testing.assert_allclose(activation(x, "quick"), want, atol=1e-6)
  assert np.abs(activation(x, "erf") - want).max() > 1e-2
  with pytest.raises(UsageError, match="model.gelu='quik' is unknown"):
    activation(x, "quik")


@pytest.mark.parametrize("options, message", [
    (dict(distilled=True), "set model.registers=1"),
    (dict(distilled=True, registers=1, pooling="gap"), "set model.registers"),
    (dict(block="axial", pooling="gap", registers=1), "model.registers=0"),
    (dict(final_norm="all"), "one of tokens, pooled, none")])
def test_what_does_not_go_together(tiny, options, message):
  with pytest.raises(UsageError, match=message):
    tiny(**options)

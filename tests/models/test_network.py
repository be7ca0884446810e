"""What every network promises, whichever family it is of."""

import jax
import jax.numpy as jnp
import pytest

from vit_jax.config.schema import default_config
from vit_jax.models.variants import (
    NETWORKS,
    make_model,
    network_of,
    network_type,
)
from vit_jax.weights import architecture

MODELS = {
    "vit": lambda **options: make_model(
        "Ti/16", num_classes=3, width=32, depth=2, mlp_dim=48, num_heads=2,
        **options),
    "hybrid": lambda **options: make_model(
        "R14+Ti/16", num_classes=3, width=32, depth=2, mlp_dim=48, num_heads=2,
        **options),
    "axial": lambda **options: make_model(
        "Ti/16", num_classes=3, width=32, depth=2, mlp_dim=48, num_heads=2,
        block="axial", pooling="gap", posemb="relative", **options),
    "resnet": lambda **options: make_model(
        "R14x1", num_classes=3, **options),
}
each_model = pytest.mark.parametrize("name", MODELS)


def shapes(model):
  return jax.eval_shape(
      model.init, jax.random.key(0), jnp.zeros((1, 32, 48, 3)))["params"]


@each_model
def test_the_architecture_makes_the_network_again(name):
  model = MODELS[name](remat="full", head_bias_init=-3.0)
  described = model.architecture()
  assert tuple(described) == model.architecture_keys()
  assert network_of(described) is type(model)
  again = architecture.build_network(described)
  assert again != model  # How it is computed is not described.
  assert again.architecture() == described
  assert shapes(again) == shapes(model)
  assert architecture.build_network(
      described, remat="full", head_bias_init=-3.0, dtype=model.dtype) == model


def test_no_architecture_is_that_of_two_families():
  keys = [set(network.architecture_keys()) for network in NETWORKS.values()]
  for i, ours in enumerate(keys):
    assert not any(ours <= other for j, other in enumerate(keys) if j != i)


def test_options_that_a_network_does_not_take_are_left_out_when_built():
  resnet, vit = MODELS["resnet"](), MODELS["vit"]()
  assert architecture.build_network(
      resnet.architecture(), scan=True, attention="einsum") == resnet
  assert architecture.build_network(vit.architecture(), scan=True).scan
  with pytest.raises(TypeError, match="no network has the argument 'skan'"):
    architecture.build_network(vit.architecture(), skan=True)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_options_are_keys_of_the_config(network):
  assert set(network.options) <= set(default_config().model)
  assert not {"variant", "num_classes"} & set(network.options)


@each_model
def test_the_grid_is_that_of_the_last_features(name):
  model = MODELS[name]()
  images = jnp.zeros((1, 32, 48, 3))
  _, aux = jax.eval_shape(
      lambda key: model.apply(model.init(key, images), images),
      jax.random.key(0))
  rows, cols = model.grid((32, 48))
  shape = aux["encoded"].shape
  if model.has_attention:
    assert rows * cols == shape[1] - (model.pooling == "cls")
  else:
    assert (rows, cols) == shape[1:3]
  assert model.grid((48, 32)) == (cols, rows) != (rows, cols)


@each_model
def test_one_block_stands_for_all(name):
  model = MODELS[name]()
  single, count = model.one_block()
  if not model.has_attention:
    assert (single, count) == (model, 1)
    return
  one, both = shapes(single), shapes(model)
  assert count == 2 and not single.scan
  blocks = both["Transformer"]
  assert one["Transformer"]["encoderblock_0"] == blocks["encoderblock_1"]
  del blocks["encoderblock_1"]
  assert one == both


@each_model
def test_the_summary_begins_with_the_name(name):
  model = MODELS[name]()
  (label, text), *_ = model.summary()
  assert label == "model" and text.startswith(f"{model.variant_name}: ")


def test_a_name_tells_the_network():
  assert network_type("b16").has_attention
  assert network_type("R50+B/16") is network_type("B/16")
  assert not network_type("R50x1").has_attention

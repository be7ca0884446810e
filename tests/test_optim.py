"""Schedules, decay, freezing and the golden fine-tuning steps."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vit_jax import optim
from vit_jax.devices.sharding import path_name
from vit_jax.errors import UsageError
from vit_jax.models.variants import make_model
from vit_jax.objectives import make_loss
from vit_jax.training.state import TrainState, state_maker
from vit_jax.training.step import make_train_step


def rates(steps, **kwargs):
  schedule = optim.make_schedule(**kwargs)
  return np.array([schedule(s) for s in steps])


@pytest.mark.parametrize("name, key", [
    ("cosine", "learning_rates"), ("linear", "learning_rates_linear")])
def test_schedules_equal_the_goldens(goldens, name, key):
  expected = np.load(goldens / "finetune_steps.expected.npz")[key]
  options = dict(learning_rate=0.03, schedule=name, total_steps=10)
  found = rates(range(11), warmup_steps=2, **options)
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
  other = rates(range(11), warmup_steps=3, **options)
  assert np.abs(other - expected).max() > 1e-3


def test_schedule_starts_at_zero_and_peaks_after_warmup():
  found = rates([0, 5, 10, 100], learning_rate=2.0, schedule="cosine",
                warmup_steps=10, total_steps=100)
  np.testing.assert_allclose(found, [0.0, 1.0, 2.0, 0.0], atol=1e-6)


def test_linear_ends_at_linear_end():
  found = rates([100], learning_rate=1e-3, schedule="linear", warmup_steps=10,
                total_steps=100, linear_end=1e-5)
  np.testing.assert_allclose(found, [1e-5], rtol=1e-4)


def test_constant_without_warmup():
  found = rates([0, 50], learning_rate=0.5, schedule="constant",
                warmup_steps=0, total_steps=100)
  np.testing.assert_allclose(found, [0.5, 0.5])


def test_the_staircase_falls_to_a_tenth_at_shares_of_the_run():
  found = rates(
      [0, 5, 24, 25, 57, 58, 75, 92, 93, 100], learning_rate=0.48,
      schedule="staircase", warmup_steps=10, total_steps=100,
      boundaries=(0.25, 0.575, 0.75, 0.925))
  falls = [0, 0, 0, 1, 1, 2, 3, 3, 4, 4]
  expected = 0.48 * 0.1 ** np.array(falls, float)
  expected[:2] *= [0.0, 0.5]
  np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("change, word", [
    (dict(schedule="cosin"), "cosine"), (dict(warmup_steps=20), "warmup"),
    (dict(schedule="staircase"), "boundaries"),
    (dict(boundaries=(0.5,)), "boundaries"),
    (dict(schedule="staircase", boundaries=(0.5, 0.2)), "increasing"),
    (dict(schedule="staircase", boundaries=(0.5, 1.5)), "increasing")])
def test_impossible_schedules_are_refused(change, word):
  options = dict(learning_rate=1.0, schedule="cosine", warmup_steps=1,
                 total_steps=10) | change
  with pytest.raises(UsageError, match=word):
    optim.make_schedule(**options)


def step_once(params, grads, **options):
  defaults = dict(total_steps=10, warmup_steps=0, schedule="constant")
  optimizer, _ = optim.make_optimizer(**(defaults | options))
  updates, state = optimizer.update(grads, optimizer.init(params), params)
  return optax.apply_updates(params, updates), state


def head(kernel, bias):
  """Returns a tree of parameters whose arrays are filled with these numbers."""
  return {"head": {"kernel": jnp.full((2, 2), kernel),
                   "bias": jnp.full(2, bias)}}


PARAMS = head(kernel=2.0, bias=2.0)


def test_weight_decay_is_decoupled_and_times_the_rate():
  # With a zero gradient, Adam leaves exactly param * (1 - rate * decay).
  zero = jax.tree.map(jnp.zeros_like, PARAMS)
  after, _ = step_once(PARAMS, zero, learning_rate=0.1, weight_decay=0.3)
  decayed = 2.0 * (1 - 0.03)
  chex.assert_trees_all_close(
      after, head(kernel=decayed, bias=2.0), rtol=1e-7)
  both, _ = step_once(
      PARAMS, zero, learning_rate=0.1, weight_decay=0.3, decay="all")
  chex.assert_trees_all_close(both, head(decayed, decayed), rtol=1e-7)


def test_decay_in_the_gradient_goes_through_the_momentum():
  # m <- 0.9 m + (g + decay w), w <- w - rate m: torch's SGD, BiT's L2.
  grads = {"head": {"kernel": jnp.full((2, 2), 0.5), "bias": jnp.ones(2)}}
  optimizer, _ = optim.make_optimizer(
      total_steps=9, warmup_steps=0, schedule="constant", name="sgd",
      learning_rate=0.1, weight_decay=0.3, decay_at="gradient",
      momentum_dtype="float32")
  params, state = PARAMS, optimizer.init(PARAMS)
  weight, momentum = 2.0, 0.0
  for _ in range(4):
    updates, state = optimizer.update(grads, state, params)
    params = optax.apply_updates(params, updates)
    momentum = 0.9 * momentum + 0.5 + 0.3 * weight
    weight -= 0.1 * momentum
  np.testing.assert_allclose(params["head"]["kernel"], weight, rtol=1e-5)
  with pytest.raises(UsageError, match="update or gradient"):
    optim.make_optimizer(total_steps=9, warmup_steps=0, decay_at="loss")


def test_adam_first_step_is_the_sign_of_the_gradient():
  grads = jax.tree.map(lambda x: -3.0 * jnp.ones_like(x), PARAMS)
  after, _ = step_once(PARAMS, grads, learning_rate=0.1)
  chex.assert_trees_all_close(after, head(2.1, 2.1), rtol=1e-6)


def test_clipping_scales_the_global_norm():
  grads = jax.tree.map(jnp.ones_like, PARAMS)
  options = dict(name="sgd", learning_rate=1.0, momentum_dtype="float32")
  after, _ = step_once(PARAMS, grads, clip_norm=1.0, **options)
  moved = jax.tree.map(jnp.subtract, PARAMS, after)
  np.testing.assert_allclose(optax.global_norm(moved), 1.0, rtol=1e-6)
  plain, _ = step_once(PARAMS, grads, **options)
  chex.assert_trees_all_close(plain, head(1.0, 1.0), rtol=1e-7)


def test_momentum_dtypes():
  grads = jax.tree.map(jnp.ones_like, PARAMS)
  for name, auto in (("sgd", jnp.bfloat16), ("adam", jnp.float32)):
    _, state = step_once(PARAMS, grads, name=name)
    kinds = {x.dtype for x in jax.tree.leaves(state) if x.ndim}
    assert jnp.dtype(auto) in kinds


def test_frozen_parameters_do_not_move_and_have_no_state():
  grads = jax.tree.map(jnp.ones_like, PARAMS)
  after, state = step_once(
      PARAMS, grads, learning_rate=0.1, weight_decay=0.3, frozen=("kernel$",))
  chex.assert_trees_all_equal(
      after["head"]["kernel"], PARAMS["head"]["kernel"])
  assert np.all(np.asarray(after["head"]["bias"]) != 2.0)
  assert not [x for x in jax.tree.leaves(state) if x.ndim == 2]


def test_a_frozen_pattern_that_matches_nothing_is_refused():
  with pytest.raises(UsageError, match="blok"):
    step_once(PARAMS, PARAMS, frozen=("blok",))


@pytest.mark.parametrize("change, word", [
    (dict(name="adamw"), "adam or sgd"), (dict(decay="none"), "kernels"),
    (dict(momentum_dtype="half"), "float32")])
def test_unknown_choices_are_refused(change, word):
  with pytest.raises(UsageError, match=word):
    optim.make_optimizer(total_steps=10, warmup_steps=1, **change)


def golden_steps(goldens, **optim_changes):
  """Three updates of the reference fine-tuning; losses and parameters."""
  from vit_jax.weights.load import load

  vit = load(goldens / "vit_finetuned_layout.npz")
  expected = np.load(goldens / "finetune_steps.expected.npz")
  options = dict(
      name="sgd", learning_rate=0.03, schedule="cosine", warmup_steps=2,
      clip_norm=1.0, total_steps=10) | optim_changes
  optimizer, schedule = optim.make_optimizer(**options)
  make = state_maker(
      vit.model, optimizer, image_size=(48, 48), seed=0, ema=False)
  state = make(jax.tree.map(jnp.asarray, vit.params))
  step = make_train_step(
      make_loss(vit.model, loss="softmax"), optimizer, schedule)
  losses = []
  for images, labels in zip(
      expected["images"], expected["labels"], strict=True):
    state, metrics = step(
        state, {"image": images, "label": labels.astype(np.int32)})
    losses.append(metrics["loss"])
  names = {path_name(p): np.asarray(x) for p, x in
           jax.tree_util.tree_leaves_with_path(state.params)}
  gaps = [np.abs(names[k.removeprefix("params/")] - expected[k]).max()
          for k in expected if k.startswith("params/")]
  assert len(gaps) == len(names)
  return np.abs(np.array(losses) - expected["losses"]).max(), max(gaps)


# The momentum is kept in bfloat16: where a gradient differs in its last bit, a
# rounding may fall the other way, and the step by one unit: 2**-8 * 0.1 * 0.03.
ONE_ROUNDING = 2e-5


def test_golden_finetuning_steps(goldens):
  loss_gap, params_gap = golden_steps(goldens)
  assert loss_gap < 1e-5
  assert params_gap < ONE_ROUNDING


@pytest.mark.parametrize("change", [
    dict(momentum=0.8), dict(warmup_steps=1)])
def test_golden_finetuning_steps_can_fail(goldens, change):
  _, params_gap = golden_steps(goldens, **change)
  assert params_gap > 2 * ONE_ROUNDING


def layered(depth=3, **changes):
  """Shapes of the parameters of a tiny model with every kind of layer."""
  model = make_model(**dict(
      variant="Ti/4", num_classes=2, width=8, depth=depth, mlp_dim=8,
      num_heads=2) | changes)
  return jax.eval_shape(
      model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]


def named(tree):
  return {path_name(path): leaf for path, leaf in
          jax.tree_util.tree_leaves_with_path(tree)}


LAYERS_OF_3 = {
    "cls": 0, "embedding/kernel": 0, "embedding/bias": 0,
    "Transformer/posembed_input/pos_embedding": 0,
    "Transformer/encoderblock_0/LayerNorm_0/scale": 1,
    "Transformer/encoderblock_1/MlpBlock_0/Dense_1/bias": 2,
    "Transformer/encoderblock_2/MultiHeadDotProductAttention_0/key/kernel": 3,
    "Transformer/encoder_norm/bias": 4, "pre_logits/kernel": 4,
    "head/kernel": 4, "head/bias": 4}


@pytest.mark.parametrize("decay", [0.65, 1.0])
def test_layer_decay_is_a_power_for_each_layer(decay):
  factors = named(optim.layer_factors(layered(pre_logits=True), decay))
  for name, layer in LAYERS_OF_3.items():
    assert factors[name] == pytest.approx(decay ** (4 - layer)), name
  for name, factor in factors.items():  # Whole blocks, not some of them.
    if "encoderblock" in name:
      layer = int(name.split("encoderblock_")[1][0]) + 1
      assert factor == pytest.approx(decay ** (4 - layer)), name


@pytest.mark.parametrize("changes, layers", [
    (dict(variant="R_Ti/16", patch_size=1), {
        "conv_root": 0, "gn_root": 0, "embedding": 0, "head": 4}),
    (dict(pooling="map"), {"MAPHead_0": 4}),
    (dict(posemb_at="layers"), {"Transformer/encoderblock_1/posembed": 2}),
    (dict(block="axial", pooling="gap"), {
        "Transformer/encoderblock_2/rows": 3})])
def test_layer_decay_knows_every_kind_of_layer(changes, layers):
  factors = named(optim.layer_factors(layered(**changes), 0.5))
  for start, layer in layers.items():
    found = {v for k, v in factors.items() if k.startswith(start)}
    assert found == {0.5 ** (4 - layer)}, start


def test_layer_decay_of_stacked_blocks_is_that_of_the_unrolled():
  single = named(optim.layer_factors(layered(), 0.75))
  stacked = named(optim.layer_factors(layered(scan=True), 0.75))
  shapes = named(layered(scan=True))
  count = 0
  for name, factors in stacked.items():
    if "encoderblock/" not in name:
      assert factors == single[name]
      continue
    assert factors.ndim == len(shapes[name].shape)
    for i, factor in enumerate(factors.ravel()):
      count += 1
      assert factor == pytest.approx(single[name.replace(
          "encoderblock/", f"encoderblock_{i}/")])
  assert count == sum("encoderblock_" in name for name in single)


@pytest.mark.parametrize("scan", [
    pytest.param(False, marks=pytest.mark.thorough), True])
@pytest.mark.parametrize("options", [
    dict(name="adam"), dict(name="sgd", decay_at="gradient", frozen=("cls",)),
    dict(name="sgd", clip_norm=1.0, frozen=("key/kernel$",))])
def test_layer_decay_multiplies_the_rate_of_every_update(scan, options):
  params = jax.tree.map(
      lambda x: jnp.full(x.shape, 0.5, jnp.float32),
      layered(depth=2, scan=scan))
  grads = jax.tree.map(lambda x: 0.1 * jnp.ones_like(x), params)
  options = dict(learning_rate=0.1, weight_decay=0.3,
                 momentum_dtype="float32") | options
  plain, _ = step_once(params, grads, **options)
  scaled, _ = step_once(params, grads, layer_decay=0.7, **options)
  moved, slower = (
      jax.tree.map(lambda a, b: np.asarray(a - b), after, params)
      for after in (plain, scaled))
  chex.assert_trees_all_close(slower, jax.tree.map(
      lambda x, f: x * f, moved, optim.layer_factors(params, 0.7)), rtol=1e-4)
  assert np.abs(moved["head"]["kernel"]).min() > 0


def test_layer_decay_refuses_what_it_is_not_about():
  resnet = layered(variant="R50x1", **dict.fromkeys(
      ("width", "depth", "mlp_dim", "num_heads")))
  with pytest.raises(UsageError, match="layer_decay=0.5.*Vision Transformer"):
    optim.make_optimizer(
        total_steps=9, warmup_steps=0, layer_decay=0.5)[0].init(resnet)
  for wrong in (0.0, 1.5, -1.0):
    with pytest.raises(UsageError, match=f"layer_decay={wrong}.*at most 1"):
      optim.make_optimizer(total_steps=9, warmup_steps=0, layer_decay=wrong)


def test_layer_decay_under_accumulation_scales_the_mean_gradient():
  def loss_fn(params, batch, _):
    loss = sum(jnp.sum(x) for x in jax.tree.leaves(params)) * jnp.mean(
        batch["label"].astype(jnp.float32))
    return loss, {"accuracy": loss}

  params = jax.tree.map(lambda x: jnp.zeros(x.shape), layered(depth=2))
  optimizer, schedule = optim.make_optimizer(
      total_steps=9, warmup_steps=0, schedule="constant", name="sgd",
      learning_rate=0.1, momentum_dtype="float32", layer_decay=0.5)
  step = make_train_step(loss_fn, optimizer, schedule, accumulate=2)
  expected = jax.tree.map(
      lambda x, f: np.broadcast_to(-0.1 * 2.5 * f, x.shape), params,
      optim.layer_factors(params, 0.5))
  state, _ = step(
      TrainState(step=jnp.int32(0), params=params,
                 opt_state=optimizer.init(params)),
      {"image": np.zeros((4, 1, 1, 3)), "label": np.array([1, 2, 3, 4])})
  chex.assert_trees_all_close(
      jax.device_get(state.params), expected, rtol=1e-5)

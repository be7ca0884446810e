"""However the mesh splits the work, the numbers are the same."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.devices.sharding import (
  make_mesh,
  parameter_spec,
  process_rows,
  put_batch,
  tree_shardings,
)
from vit_jax.errors import UsageError
from vit_jax.models.bit_resnet import BiTResNet
from vit_jax.models.variants import make_model
from vit_jax.objectives import make_loss
from vit_jax.optim import make_optimizer
from vit_jax.training.state import abstract_state, create_state, state_maker
from vit_jax.training.step import (
  accumulated_gradients,
  check_batch,
  make_train_step,
  polyak,
)

SIZE = (16, 16)


def tiny_model(**changes):
  options = dict(
      variant="Ti/16", num_classes=8, patch_size=8, width=32, depth=2,
      mlp_dim=64, num_heads=4, dropout=0.1, stochastic_depth=0.1,
      dtype="float32") | changes
  return make_model(**options)


def batches(steps, batch_size=16):
  rng = np.random.default_rng(0)
  for _ in range(steps):
    yield {
        "image": rng.integers(0, 256, (batch_size, *SIZE, 3), np.uint8),
        "label": rng.integers(0, 8, batch_size, np.int32)}


def run(*, steps=5, stop=None, model=None, devices=None, accumulate=1, ema=None,
        batch_size=16, name="adam", seed=3, **axes):
  """Losses and final state of a few updates of a run on some mesh."""
  model = model or tiny_model()
  mesh = make_mesh(devices=devices, **axes)
  optimizer, schedule = make_optimizer(
      name=name, total_steps=steps, warmup_steps=1, learning_rate=0.01,
      weight_decay=0.1, clip_norm=1.0)
  make = state_maker(
      model, optimizer, image_size=SIZE, seed=0, ema=ema is not None)
  abstract = abstract_state(make, mesh)
  state = create_state(make, abstract)
  step = make_train_step(
      make_loss(model), optimizer, schedule, seed=seed, accumulate=accumulate,
      ema_decay=ema, mesh=mesh,
      shardings=jax.tree.map(lambda x: x.sharding, abstract))
  losses = []
  for batch in batches(stop or steps, batch_size):
    state, metrics = step(state, put_batch(batch, mesh, batch_size))
    losses.append(float(metrics["loss"]))
  return np.array(losses), state


@pytest.fixture(scope="module")
def alone():
  return run(devices=jax.devices()[:1])


@pytest.mark.parametrize("axes", [
    dict(data=2, fsdp=2, tensor=2), *(
        pytest.param(axes, marks=pytest.mark.thorough)
        for axes in (dict(data=8), dict(fsdp=8), dict(tensor=4, data=2)))],
    ids=str)
def test_any_mesh_gives_the_losses_of_one_device(alone, axes):
  losses, _ = run(**({"data": 1} | axes))
  np.testing.assert_allclose(losses, alone[0], atol=1e-5, rtol=0)


def test_dropout_keys_matter(alone):
  losses, _ = run(devices=jax.devices()[:1], seed=4)
  assert np.abs(losses - alone[0]).max() > 1e-3


def test_fsdp_and_tensor_really_split():
  _, state = run(steps=1, data=2, fsdp=2, tensor=2)
  block = state.params["Transformer"]["encoderblock_0"]
  kernel = block["MlpBlock_0"]["Dense_0"]["kernel"]
  assert kernel.addressable_shards[0].data.shape == (16, 32)
  query = block["MultiHeadDotProductAttention_0"]["query"]["kernel"]
  assert query.addressable_shards[0].data.shape == (16, 2, 8)
  moments = [x for x in jax.tree.leaves(state.opt_state)
             if x.shape == kernel.shape]
  assert len(moments) == 4  # mu and nu of two blocks.
  for x in moments:
    assert x.addressable_shards[0].data.shape == (16, 32)


@pytest.mark.parametrize("count", [
    2, pytest.param(4, marks=pytest.mark.slow)])
def test_accumulated_equals_plain(count):
  # k micro-batches of b equal one batch of k * b (without dropout).
  plain = tiny_model(dropout=0.0, stochastic_depth=0.0)
  expected, _ = run(model=plain, data=2, devices=jax.devices()[:2], name="sgd")
  losses, _ = run(model=plain, data=2, devices=jax.devices()[:2],
                  accumulate=count, name="sgd")
  np.testing.assert_allclose(losses, expected, atol=1e-5, rtol=0)


def test_micro_batches_are_interleaved_rows():
  # So that every device keeps the rows it holds.
  seen = []

  def loss_fn(params, batch, rng):
    jax.debug.callback(lambda x: seen.append(x.tolist()), batch["label"])
    return jnp.sum(params * batch["label"]), {}

  loss, _, grads = accumulated_gradients(
      loss_fn, jnp.float32(2.0), {"label": jnp.arange(6.0)}, jax.random.key(0),
      3)
  jax.effects_barrier()
  assert sorted(seen) == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
  assert (loss, grads) == (10.0, 5.0)  # Means over micro-batches, not sums.


@pytest.mark.parametrize("decay", [0.0, 0.75, 0.9999])
@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_the_average_of_weights_is_that_of_the_updates_alone(decay, count):
  # The sum of d**(t - i) params_i over updates i = 1..t, by the sum of the
  # d**(t - i): what the run started from is not in it.
  params = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
  average = jnp.full(3, 1e3)
  step = jax.jit(lambda a, p, t: polyak(a, p, decay, t))
  for update, new in enumerate(params, 1):
    average = step(average, new, update)
  shares = decay ** np.arange(count - 1.0, -1.0, -1.0)
  expected = shares @ params.astype(np.float64) / shares.sum()
  np.testing.assert_allclose(average, expected, atol=2e-6)
  if count == 1:
    np.testing.assert_array_equal(average, params[0])


def test_a_long_average_forgets_by_its_decay():
  moved = polyak(jnp.zeros(1), jnp.ones(1), 0.998, 1_000_000)
  np.testing.assert_allclose(moved, 0.002, rtol=1e-5)


@pytest.mark.slow
def test_a_run_averages_its_weights_by_its_count_of_steps():
  one, two = (run(steps=2, stop=stop, ema=0.75, devices=jax.devices()[:1])[1]
              for stop in (1, 2))
  # After the first update the average is the weights.
  chex.assert_trees_all_equal(one.ema, one.params)
  expected = jax.tree.map(
      lambda a, b: (0.75 * a + b) / 1.75, jax.device_get(one.params),
      jax.device_get(two.params))
  chex.assert_trees_all_close(jax.device_get(two.ema), expected, atol=1e-6)


@pytest.mark.slow
def test_scanned_blocks_shard_too():
  model = tiny_model(scan=True, dropout=0.0, stochastic_depth=0.0)
  one, _ = run(model=model, devices=jax.devices()[:1])
  many, state = run(model=model, data=2, fsdp=2, tensor=2)
  np.testing.assert_allclose(many, one, atol=1e-5, rtol=0)
  kernel = state.params["Transformer"]["encoderblock"]["MlpBlock_0"]["Dense_0"][
      "kernel"]
  assert kernel.addressable_shards[0].data.shape == (2, 16, 32)


@pytest.mark.slow
def test_a_resnet_shards_too():
  options = dict(model=BiTResNet(num_classes=8, units=(1, 1)), steps=3)
  one, whole = run(devices=jax.devices()[:1], **options)
  many, state = run(data=2, fsdp=4, **options)
  np.testing.assert_allclose(many, one, rtol=1e-4)

  def last(params):
    return params["block2"]["unit01"]["c"]["standardized_conv2d"]["kernel"]

  kernel = last(state.params)
  assert kernel.addressable_shards[0].data.shape == (1, 1, 128, 128)
  np.testing.assert_allclose(kernel, last(whole.params), atol=1e-3)


@pytest.mark.parametrize("variant", ["R50+B/16", "R+Ti/16", "H/14", "B/16"])
@pytest.mark.parametrize("pooling", ["cls", "map"])
def test_rules_cover_every_parameter(variant, pooling):
  model = make_model(variant=variant, num_classes=1000, pooling=pooling,
                     pre_logits=True)
  shapes = jax.eval_shape(
      lambda: model.init(jax.random.key(0), jnp.zeros((1, 224, 224, 3))))
  tree_shardings(shapes["params"], make_mesh(fsdp=4, tensor=2))


@pytest.mark.parametrize("changes, message", [
    ({"image": np.zeros((8, 16, 16), np.uint8)}, "rank"),
    ({"label": np.zeros((8, 4), np.int32)}, "rank"),
    ({"label": np.zeros(8, np.float32)}, "type"),
    ({"label": np.zeros(4, np.int32)}, "shape")])
def test_batches_of_other_shapes_and_types_do_not_train(changes, message):
  batch = next(batches(1, 8))
  check_batch(batch)
  with pytest.raises(AssertionError, match=message):
    check_batch(batch | changes)


def test_a_parameter_without_a_rule_fails():
  with pytest.raises(ValueError, match="no sharding rule covers"):
    parameter_spec("Transformer/novelty/kernel", (4, 4), make_mesh())


@pytest.mark.parametrize("axes", [
    dict(data=3), dict(fsdp=3), dict(data=-1, fsdp=-1), dict(data=4),
    dict(tensor=0)])
def test_meshes_that_do_not_fit_are_refused(axes):
  with pytest.raises(UsageError, match="8 devices"):
    make_mesh(**axes)


def test_batch_must_fit_the_mesh():
  assert process_rows(make_mesh(), 16).tolist() == list(range(16))
  with pytest.raises(UsageError, match="multiple of the 8 ways"):
    process_rows(make_mesh(), 12)

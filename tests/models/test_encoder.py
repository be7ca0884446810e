"""Blocks: scan, remat, dropout placement, stochastic depth, capture."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.errors import UsageError
from vit_jax.models.block import BlockConfig, MlpBlock, drop_path
from vit_jax.models.encoder import Encoder


def run(model, params, pictures, **kwargs):
  return jax.jit(lambda p, x: model.apply({"params": p}, x, **kwargs))(
      params, pictures)


def quick_key(seed):
  """A key whose bits compile in a third of threefry's time."""
  return jax.random.key(seed, impl="unsafe_rbg")


def difference(one, two):
  return max(
      float(np.abs(a - b).max()) for a, b in zip(
          jax.tree.leaves(one), jax.tree.leaves(two), strict=True))


def test_scanned_equals_unrolled(tiny, images, random_params, stack):
  pictures = images()
  params = random_params(tiny(), pictures)
  logits, aux = run(tiny(), params, pictures, capture_attention=(0, 2))
  stacked = stack(params)
  found, found_aux = run(
      tiny(scan=True), stacked, pictures, capture_attention=(0, 2))
  blocks = stacked["Transformer"]["encoderblock"]
  swapped = {**stacked, "Transformer": {
      **stacked["Transformer"],
      "encoderblock": jax.tree.map(lambda a: a[::-1], blocks)}}
  assert difference(run(tiny(scan=True), swapped, pictures)[0], logits) > 1e-2
  np.testing.assert_allclose(found, logits, atol=1e-5)
  assert set(found_aux) == set(aux)
  for name in aux:
    np.testing.assert_allclose(found_aux[name], aux[name], atol=1e-5)


def test_scan_stacks_and_initialises_every_block_by_itself(tiny, images):
  model = tiny(scan=True)
  params = jax.jit(model.init)(jax.random.key(0), images())["params"]
  block = params["Transformer"]["encoderblock"]
  kernel = block["MlpBlock_0"]["Dense_0"]["kernel"]
  assert kernel.shape == (3, 32, 64)
  assert not np.allclose(kernel[0], kernel[1])
  bound = np.sqrt(6 / (32 + 64))
  for row in kernel:
    assert 0.95 * bound < np.abs(row).max() <= bound


@pytest.mark.parametrize("scan", [
    pytest.param(False, marks=pytest.mark.thorough), True])
def test_remat_leaves_gradients(tiny, images, random_params, stack, scan):
  """The same masks of dropout and stochastic depth, too."""
  pictures, depth = images(), 2 if scan else 1
  params = random_params(tiny(depth=depth), pictures)
  params = stack(params) if scan else params

  def gradients(remat):
    model = tiny(depth=depth, scan=scan, dropout=0.3, stochastic_depth=0.3,
                 remat=remat)

    def loss(p, key):
      logits, _ = model.apply(
          {"params": p}, pictures, train=True, rngs={"dropout": key})
      return jnp.sum(jnp.sin(logits))

    return jax.jit(jax.grad(loss))

  plain = gradients("none")
  expected = plain(params, quick_key(5))
  assert difference(expected, plain(params, quick_key(6))) > 0.1
  for remat in ("dots", "full") if scan else ("full",):
    found = gradients(remat)(params, quick_key(5))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected),
                    strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_remat_recomputes(tiny, images):
  """The policies differ in what the backward pass computes again."""
  pictures = images()

  def flops(remat):
    model = tiny(remat=remat, depth=1)
    params = jax.eval_shape(model.init, jax.random.key(0), pictures)["params"]
    grad = jax.grad(
        lambda p, x: model.apply({"params": p}, x)[0].sum())
    text = str(jax.make_jaxpr(grad)(params, pictures))
    return text.count("dot_general")

  assert flops("none") < flops("dots") < flops("full")


def test_capture_gives_chosen_blocks_and_rows_that_sum_to_one(
    tiny, images, random_params):
  pictures = images()
  params = random_params(tiny(), pictures)
  plain, without = run(tiny(), params, pictures)
  logits, aux = run(tiny(), params, pictures, capture_attention=(1,))
  assert not [name for name in without if name.startswith("attention")]
  assert [name for name in aux if name.startswith("attention")] == [
      "attention1"]
  weights = aux["attention1"]
  assert weights.shape == (2, 4, 10, 10)
  assert np.abs(weights - 0.1).max() > 0.01  # Not merely uniform.
  assert np.abs(weights.sum(-2) - 1).max() > 0.01  # Columns do not.
  np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
  np.testing.assert_allclose(logits, plain, atol=1e-5)


@pytest.mark.parametrize("scan", [False, True])
def test_capturing_a_block_that_is_not_there_is_refused(tiny, images, scan):
  with pytest.raises(UsageError, match="names block 3, but there are 3 blocks"):
    jax.eval_shape(
        lambda x: tiny(scan=scan).init(
            jax.random.key(0), x, capture_attention=(0, 3)), images())


def dropouts(model, pictures, **kwargs):
  """Paths of the Dropout modules that are called with their rates, in order."""
  called = []

  def note(call, args, options, context):
    module = context.module
    if isinstance(module, nn.Dropout) and context.method_name == "__call__":
      if module.rate and not options["deterministic"]:
        called.append("/".join(module.path))
    return call(*args, **options)

  def apply():
    with nn.intercept_methods(note):
      return model.init_with_output(
          {"params": jax.random.key(0), "dropout": jax.random.key(1)},
          pictures, **kwargs)

  jax.eval_shape(apply)
  return called


def test_dropout_sits_where_the_paper_puts_it(tiny, images):
  # After the position embedding; after every dense layer except qkv: the
  # attention's output, and both layers of the MLP.
  found = dropouts(tiny(dropout=0.1, pre_logits=16), images(), train=True)
  assert found == ["Transformer/Dropout_0"] + [
      f"Transformer/encoderblock_{i}/{place}" for i in range(3)
      for place in ("Dropout_0", "MlpBlock_0/Dropout_0",
                    "MlpBlock_0/Dropout_1")]
  assert not dropouts(tiny(dropout=0.1), images(), train=False)
  assert not dropouts(tiny(dropout=0.0), images(), train=True)


def test_attention_dropout_is_apart(tiny, images):
  found = dropouts(tiny(attention_dropout=0.1), images(), train=True)
  assert found == [
      f"Transformer/encoderblock_{i}/MultiHeadDotProductAttention_0/Dropout_0"
      for i in range(3)]


@pytest.mark.parametrize("scan", [False, True])
def test_dropout_is_off_in_evaluation(tiny, images, random_params, stack, scan):
  pictures = images()
  params = random_params(tiny(depth=2), pictures)
  params = stack(params) if scan else params
  noisy = tiny(scan=scan, depth=2, dropout=0.5, attention_dropout=0.5,
               stochastic_depth=0.5)
  expected, _ = run(tiny(scan=scan, depth=2), params, pictures)
  dropped, _ = run(noisy, params, pictures, train=True,
                   rngs={"dropout": quick_key(0)})
  assert difference(dropped, expected) > 1e-2
  found, _ = run(noisy, params, pictures)
  np.testing.assert_array_equal(found, expected)


def test_drop_path_drops_whole_examples_and_keeps_the_expectation():
  x = jnp.ones((20_000, 2, 3))
  out = np.asarray(drop_path(x, 0.25, jax.random.key(0)))
  assert (out == out[:, :1, :1]).all()
  assert set(np.unique(out)) == {0, np.float32(1 / 0.75)}
  assert abs((out == 0).mean() - 0.25) < 0.02
  assert abs(out.mean() - 1) < 0.02
  np.testing.assert_array_equal(drop_path(x, 0.0, jax.random.key(0)), x)


@pytest.mark.parametrize(("depth", "rates"), [
    (1, [0.0]), (2, [0.0, 0.3]), (4, [0.0, 0.1, 0.2, 0.3])])
def test_stochastic_depth_grows_linearly_from_zero(depth, rates):
  encoder = Encoder(depth, BlockConfig(8, 2, stochastic_depth=0.3), (1, 1))
  np.testing.assert_allclose(encoder._rates(), rates)


@pytest.mark.parametrize("scan", [False, True])
def test_stochastic_depth_reaches_the_blocks_at_their_rates(
    tiny, images, random_params, stack, scan):
  """Where both branches of the last block drop, its input comes through."""
  pictures = images(8, 8, count=400)
  model = tiny(scan=scan, stochastic_depth=0.5, depth=2)
  params = random_params(tiny(depth=2), pictures)
  params = stack(params) if scan else params
  _, aux = run(model, params, pictures)
  norm = params["Transformer"]["encoder_norm"]
  skipped = nn.LayerNorm().apply({"params": norm}, aux["block0"])

  def through(encoded):
    return np.isclose(encoded, skipped, atol=1e-4).all(axis=(1, 2)).mean()

  _, dropped = run(model, params, pictures, train=True,
                   rngs={"dropout": quick_key(2)})
  assert through(aux["encoded"]) == 0
  assert abs(through(dropped["encoded"]) - 0.5**2) < 0.08


@pytest.mark.parametrize("gelu", ["tanh", "erf"])
def test_mlp_equals_numpy(gelu):
  from scipy.special import erf

  rng = np.random.default_rng(0)
  x = 3 * rng.normal(size=(2, 3, 6))
  params = {name: {"kernel": rng.normal(size=shape),
                   "bias": rng.normal(size=shape[1])}
            for name, shape in (("Dense_0", (6, 10)), ("Dense_1", (10, 6)))}
  forms = {
      "tanh": lambda y: 0.5 * y * (
          1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3))),
      "erf": lambda y: 0.5 * y * (1 + erf(y / np.sqrt(2))),
  }
  hidden = x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
  expected = {
      name: form(hidden) @ params["Dense_1"]["kernel"]
            + params["Dense_1"]["bias"] for name, form in forms.items()}
  assert np.abs(expected["tanh"] - expected["erf"]).max() > 3e-4
  out = MlpBlock(BlockConfig(10, 1, gelu=gelu)).apply(
      {"params": jax.tree.map(jnp.float32, params)}, jnp.float32(x),
      train=False)
  np.testing.assert_allclose(out, expected[gelu], atol=5e-5)

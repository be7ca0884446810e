"""The ResNet baselines: convolutions, padding, units, names and counts."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

from vit_jax.errors import UsageError
from vit_jax.models.bit_resnet import BiTResNet, GroupNormRelu, StandardizedConv
from vit_jax.models.variants import make_model
from vit_jax.weights import trees
from vit_jax.weights.names import google

TINY = dict(num_classes=5, units=(1, 2))


def convolution(x, kernel, stride):
  """A convolution in numpy, half a kernel of zeros on every side."""
  size = kernel.shape[0]
  x = np.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)))
  rows, cols = ((n - size) // stride + 1 for n in x.shape[1:3])
  out = np.zeros((len(x), rows, cols, kernel.shape[-1]))
  for i in range(rows):
    for j in range(cols):
      window = x[:, i * stride:i * stride + size, j * stride:j * stride + size]
      out[:, i, j] = np.einsum("bhwc,hwcd->bd", window, kernel)
  return out


@pytest.mark.parametrize(("size", "stride", "sides"), [
    (7, 2, (12, 9)), (3, 1, (6, 7)), (3, 2, (8, 7)), (1, 2, (8, 7))])
def test_convolution_equals_numpy(size, stride, sides):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, *sides, 4)).astype(np.float32)
  # So narrow that the epsilon counts, and its place shows.
  kernel = rng.normal(1e-3, 1e-5, (size, size, 4, 6)).astype(np.float32)
  centred = kernel - kernel.mean(axis=(0, 1, 2), dtype=np.float64)
  variance = np.square(centred).mean(axis=(0, 1, 2))
  expected = convolution(x, centred / np.sqrt(variance + 1e-10), stride)
  plain = convolution(x, centred / np.sqrt(variance), stride)
  found = StandardizedConv(6, size, stride).apply(
      {"params": {"kernel": kernel}}, x)
  assert np.abs(plain - expected).max() > 0.1
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_group_norm_equals_numpy():
  rng = np.random.default_rng(0)
  x = rng.normal(2.0, 1e-3, size=(2, 3, 5, 64)).astype(np.float32)
  gamma, beta = rng.normal(size=(2, 64)).astype(np.float32)
  groups = x.astype(np.float64).reshape(2, 15, 32, 2)
  mean = groups.mean(axis=(1, 3), keepdims=True)
  variance = groups.var(axis=(1, 3), keepdims=True)
  expected = ((groups - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
  expected = np.maximum(expected * gamma + beta, 0)
  found = GroupNormRelu().apply(
      {"params": {"gamma": gamma, "beta": beta}}, x)
  np.testing.assert_allclose(found, expected, atol=1e-3)


def test_zeros_surround_the_maximum():
  # There is no ReLU between root and pooling: with the usual -inf around it
  # the maximum at the border would be another.
  model = BiTResNet(**TINY)
  x = jnp.zeros((1, 32, 32, 3))
  params = jax.jit(model.init)(jax.random.key(0), x)["params"]
  _, state = model.apply(
      {"params": params}, x + 0.5, capture_intermediates=True)
  root = state["intermediates"]["root_block"]["__call__"][0]
  first = state["intermediates"]["block1"]["unit01"]["a"]["__call__"][0][1]
  padded = np.pad(np.asarray(root), ((0, 0), (1, 1), (1, 1), (0, 0)))
  expected = np.stack([np.stack([
      padded[:, 2 * i:2 * i + 3, 2 * j:2 * j + 3].max(axis=(1, 2))
      for j in range(8)], axis=1) for i in range(8)], axis=1)
  assert (np.asarray(root)[:, :2, :2].max(axis=(1, 2)) < 0).any()
  # The first unit's residual path: norm, ReLU and projection of the pooled.
  kernel = params["block1"]["unit01"]["a"]
  y = GroupNormRelu().apply({"params": kernel["group_norm"]}, expected)
  y = StandardizedConv(256, 1).apply(
      {"params": kernel["proj"]["standardized_conv2d"]}, y)
  np.testing.assert_allclose(first, y, atol=1e-4)


@pytest.mark.oracle
@pytest.mark.parametrize("size", [
    pytest.param((64, 64), marks=pytest.mark.thorough),
    pytest.param((97, 75), marks=pytest.mark.thorough),
    pytest.param((33, 50), marks=pytest.mark.slow)])
def test_timm_reads_our_file_and_agrees(size, tmp_path):
  timm, torch = oracle.import_timm(), pytest.importorskip("torch")
  model = make_model("R50x1", num_classes=7, dtype="float32")
  shapes = jax.eval_shape(
      model.init, jax.random.key(0), jnp.zeros((1, *size, 3)))["params"]
  rng = np.random.default_rng(0)
  flat = {name: (0.1 * rng.normal(size=leaf.shape) + name.endswith("gamma")
                 ).astype(np.float32)
          for name, leaf in trees.flatten(shapes).items()}
  np.savez(tmp_path / "bit.npz", **google.encode(flat, "released"))
  theirs = timm.create_model("resnetv2_50x1_bit", num_classes=7)
  theirs.load_pretrained(str(tmp_path / "bit.npz"))
  theirs.eval()
  x = rng.uniform(-1, 1, size=(2, *size, 3)).astype(np.float32)
  with torch.no_grad():
    expected = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy()
  found, aux = model.apply({"params": trees.unflatten(flat)}, x)
  # timm adds 1e-8 to a kernel's variance.
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=5e-4)
  assert aux["encoded"].shape[1:3] == model.grid(size)


@pytest.mark.parametrize(("name", "millions"), [
    ("R50x1", 25_549_352), ("R101x1", 44_541_480), ("R152x2", 236_335_208)])
def test_parameters_are_those_of_the_literature(name, millions):
  model = make_model(name, num_classes=1000)
  tree = jax.eval_shape(
      model.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))["params"]
  assert sum(leaf.size for leaf in jax.tree.leaves(tree)) == millions


@pytest.mark.parametrize("size", [(32, 32), (40, 28)])
def test_multiply_adds_equal_xlas(size):
  model = BiTResNet(**TINY)
  x = jnp.zeros((1, *size, 3))
  params = jax.jit(model.init)(jax.random.key(0), x)["params"]
  text = jax.jit(lambda p, x: model.apply({"params": p}, x)[0]).lower(
      params, x).compile().cost_analysis()
  # XLA also counts norms, and leaves out the products with padding.
  ours = 2 * model.macs(size)
  assert 0.7 < text["flops"] / ours < 1.2


@pytest.mark.parametrize(("options", "message"), [
    (dict(dropout=0.1), "model.dropout=0.1 is not an option of model.variant="
     "'R50x1', which takes head_bias_init, dtype, remat"),
    (dict(width=64), "model.width=64"), (dict(pre_logits=True), "pre_logits"),
    (dict(remat="some"), "model.remat='some' is unknown")])
def test_a_transformers_options_are_refused(options, message):
  with pytest.raises(UsageError, match=message):
    make_model("R50x1", num_classes=2, **options)


def test_an_unknown_argument_is_an_error_as_of_a_transformer():
  for name in ("R50x1", "B/16"):
    with pytest.raises(TypeError, match="nonsense"):
      make_model(name, num_classes=2, nonsense=1)


def test_bytes_and_floats_are_one_picture_and_the_head_starts_at_zero():
  model = BiTResNet(**TINY, head_bias_init=-10.0)
  pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
  params = jax.jit(model.init)(jax.random.key(0), pixels)["params"]
  logits, aux = model.apply({"params": params}, pixels)
  assert (np.asarray(logits) == -10).all()
  other = model.apply(
      {"params": params}, (pixels.astype(np.float32) - 127.5) / 127.5)[1]
  np.testing.assert_allclose(
      aux["pre_logits"], other["pre_logits"], atol=1e-5)
  assert aux["pre_logits"].std() > 0.01
  with pytest.raises(UsageError, match="images are int32"):
    model.apply({"params": params}, pixels.astype(np.int32))
  with pytest.raises(UsageError, match="images have 1 numbers per pixel"):
    model.apply({"params": params}, pixels[..., :1])


@pytest.mark.parametrize("remat", [
    pytest.param("dots", marks=pytest.mark.thorough), "full"])
def test_rematerialisation_changes_no_gradient(remat):
  x = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))

  def gradient(remat):
    model = BiTResNet(num_classes=0, units=(1, 2), remat=remat)
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]

    def loss(p):
      return jnp.sum(jnp.square(model.apply({"params": p}, x)[0]))

    return jax.jit(jax.grad(loss))(params)

  for a, b in zip(jax.tree.leaves(gradient("none")),
                  jax.tree.leaves(gradient(remat)), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)

"""The hybrids' stem: standardised convolutions, units, strides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.errors import UsageError
from vit_jax.models.resnet_stem import BottleneckUnit, StdConv, stem_grid
from vit_jax.models.vit import VisionTransformer


def same_convolution(x, kernel, stride):
  """A convolution with SAME padding in numpy, more padding at the end."""
  size = kernel.shape[0]
  rows, cols = (-(-side // stride) for side in x.shape[1:3])
  pads = [max((n - 1) * stride + size - side, 0)
          for n, side in zip((rows, cols), x.shape[1:3], strict=True)]
  x = np.pad(x, ((0, 0), *[(p // 2, p - p // 2) for p in pads], (0, 0)))
  out = np.zeros((len(x), rows, cols, kernel.shape[-1]))
  for i in range(rows):
    for j in range(cols):
      window = x[:, i * stride:i * stride + size, j * stride:j * stride + size]
      out[:, i, j] = np.einsum("bhwc,hwcd->bd", window, kernel)
  return out


@pytest.mark.parametrize(("size", "stride", "sides"), [
    (7, 2, (11, 8)), (3, 1, (6, 7)), (3, 2, (8, 8)), (1, 2, (7, 7))])
def test_std_conv_equals_numpy(size, stride, sides):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, *sides, 4)).astype(np.float32)
  # Narrow kernels: the epsilon then counts, and its place shows.
  kernel = rng.normal(1e-3, 3e-4, size=(size, size, 4, 6)).astype(np.float32)
  std = kernel.std(axis=(0, 1, 2), dtype=np.float64)
  centred = kernel - kernel.mean(axis=(0, 1, 2), dtype=np.float64)
  expected = same_convolution(x, centred / (std + 1e-5), stride)
  wrong = same_convolution(x, centred / np.sqrt(std**2 + 1e-5), stride)
  out = StdConv(6, (size, size), (stride, stride)).apply(
      {"params": {"kernel": kernel}}, x)
  assert np.abs(wrong - expected).max() > 0.1
  np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


def test_timms_epsilon_is_added_to_the_variance():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 6, 6, 4)).astype(np.float32)
  kernel = rng.normal(1e-3, 3e-4, size=(3, 3, 4, 6)).astype(np.float32)
  var = kernel.var(axis=(0, 1, 2), dtype=np.float64)
  centred = kernel - kernel.mean(axis=(0, 1, 2), dtype=np.float64)
  expected = same_convolution(x, centred / np.sqrt(var + 1e-8), 1)
  out, released = (
      StdConv(6, (3, 3), eps=eps).apply({"params": {"kernel": kernel}}, x)
      for eps in ("timm", "released"))
  assert np.abs(released - expected).max() > 0.01
  np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


def test_kernel_scale_and_offset_do_not_matter():
  x = jax.random.normal(jax.random.key(0), (1, 6, 6, 3))
  module = StdConv(5, (3, 3))
  kernel = module.init(jax.random.key(1), x)["params"]["kernel"]
  out = module.apply({"params": {"kernel": kernel}}, x)
  same = module.apply({"params": {"kernel": 7 * kernel + 3}}, x)
  other = module.apply({"params": {"kernel": kernel**2}}, x)
  assert not np.allclose(out, other, atol=1e-2)
  np.testing.assert_allclose(out, same, atol=2e-3)


def test_a_fresh_unit_is_the_rectified_identity():
  x = jax.random.normal(jax.random.key(0), (2, 4, 4, 128))
  unit = BottleneckUnit(32)
  variables = unit.init(jax.random.key(1), x)
  assert set(variables["params"]) == {
      "conv1", "gn1", "conv2", "gn2", "conv3", "gn3"}
  assert not variables["params"]["gn3"]["scale"].any()
  assert (variables["params"]["gn1"]["scale"] == 1).all()
  np.testing.assert_array_equal(unit.apply(variables, x), np.maximum(x, 0))
  variables["params"]["gn3"]["scale"] += 1
  assert not np.allclose(unit.apply(variables, x), np.maximum(x, 0))


@pytest.mark.parametrize(("features", "strides"), [(16, (1, 1)), (32, (2, 2))])
def test_projection_only_where_shapes_change(features, strides):
  # 32 channels times 4 are 128, which only the stride then changes.
  unit = BottleneckUnit(32, strides)
  x = jnp.zeros((1, 8, 8, 128 if features == 32 else 64))
  out, variables = unit.init_with_output(jax.random.key(0), x)
  assert {"conv_proj", "gn_proj"} <= set(variables["params"])
  assert out.shape == (1, 8 // strides[0], 8 // strides[0], 128)


@pytest.mark.parametrize("units", [(), (1,), (1, 1), (1, 2, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("sides", [(64, 64), (70, 97)])
def test_grid_is_the_one_that_the_stem_makes(units, sides):
  model = VisionTransformer(
      num_classes=2, patch_size=(1, 2), width=32, depth=1, mlp_dim=32,
      num_heads=4, resnet=units, resnet_width=0.5)
  images = jax.ShapeDtypeStruct((1, *sides, 3), jnp.float32)
  shape = jax.eval_shape(model.init, jax.random.key(0), images)["params"][
      "Transformer"]["posembed_input"]["pos_embedding"].shape
  rows, cols = model.grid(sides)
  assert shape[1] == rows * cols + 1
  assert rows == stem_grid(sides[0], units)


def test_total_stride():
  assert [stem_grid(224, (1,) * n) for n in range(5)] == [56, 56, 28, 14, 7]
  assert stem_grid(225, (3, 4, 9)) == 15


def test_width_that_the_groups_do_not_divide_is_refused():
  model = VisionTransformer(
      num_classes=2, patch_size=(1, 1), width=32, depth=1, mlp_dim=32,
      num_heads=4, resnet=(1,), resnet_width=0.25)
  with pytest.raises(UsageError, match="resnet_width=0.25 gives 16 channels"):
    jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


def test_compute_dtype_reaches_the_stem():
  x = jnp.zeros((1, 8, 8, 64), jnp.bfloat16)
  out, variables = BottleneckUnit(32, dtype=jnp.bfloat16).init_with_output(
      jax.random.key(0), x)
  assert out.dtype == jnp.bfloat16
  assert {a.dtype for a in jax.tree.leaves(variables)} == {jnp.dtype("float32")}

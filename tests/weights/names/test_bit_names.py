"""Files of BiT ResNets: read, fitted to other classes, written, refused."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vit_jax
from vit_jax.errors import CheckpointError, UsageError
from vit_jax.models.bit_resnet import BiTResNet
from vit_jax.models.variants import make_model
from vit_jax.weights import architecture, convert, trees
from vit_jax.weights.load import init_params
from vit_jax.weights.names import bit
from vit_jax.weights.read import read_weights

MODEL = BiTResNet(num_classes=4, units=(1, 2), width_factor=1)


@pytest.fixture(scope="module")
def params():
  tree = MODEL.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
  rng = np.random.default_rng(0)
  return jax.tree.map(
      lambda x: rng.normal(size=x.shape).astype(np.float32), tree)


@pytest.fixture
def released(params, tmp_path):
  """A file as BiT's were released: under resnet/, the head a convolution."""
  path = tmp_path / "BiT-M-R14x1.npz"
  np.savez(path, **bit.encode(trees.flatten(params)))
  return path


def test_released_names(params):
  names = bit.encode(trees.flatten(params))
  assert names["resnet/head/conv2d/kernel"].shape == (1, 1, 512, 4)
  assert names["resnet/root_block/standardized_conv2d/kernel"].shape == (
      7, 7, 3, 64)
  assert "resnet/block2/unit02/a/group_norm/gamma" in names
  assert "resnet/block1/unit01/a/proj/standardized_conv2d/kernel" in names


def test_load_gives_the_same_logits(params, released):
  loaded = vit_jax.load(released, image_size=48, dtype="float32")
  assert loaded.model.units == (1, 2)
  assert loaded.config["dialect"].startswith("released resnet/")
  x = jax.random.normal(jax.random.key(1), (2, 48, 48, 3))
  np.testing.assert_array_equal(
      loaded.model.apply({"params": loaded.params}, x)[0],
      MODEL.apply({"params": params}, x)[0])


def test_norms_of_four_dimensions_are_read(params, released, tmp_path):
  with np.load(released) as file:
    arrays = {name: a.reshape(1, 1, 1, -1) if "group_norm" in name else a
              for name, a in file.items()}
  np.savez(tmp_path / "wide.npz", **arrays)
  flat = read_weights(tmp_path / "wide.npz").flat
  np.testing.assert_array_equal(
      flat["group_norm/gamma"], params["group_norm"]["gamma"])


def test_other_classes_begin_with_a_head_of_zeros(released):
  model = BiTResNet(num_classes=9, units=(1, 2), head_bias_init=-1.0)
  found, report = init_params(released, model, 64)
  assert report.head == "reset" and not found["head"]["kernel"].any()
  assert (found["head"]["bias"] == -1).all()


def test_the_size_of_the_images_must_be_given(released):
  with pytest.raises(UsageError, match="pass image_size="):
    vit_jax.load(released)


def test_another_network_is_refused_with_all_names(released):
  with pytest.raises(CheckpointError, match=r"2 unknown to|missing|another"):
    init_params(released, BiTResNet(num_classes=4, units=(1, 3)), 64)


def test_a_transformers_file_is_refused_in_one_line(tmp_path, save_npz):
  vit = make_model("Ti/16", num_classes=2, width=16, depth=1, mlp_dim=16,
                   num_heads=2, gelu="erf")
  save_npz(tmp_path / "vit.npz", vit.init(
      jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"])
  with pytest.raises(CheckpointError, match="the file is .*, the config "):
    init_params(tmp_path / "vit.npz", MODEL, 32)


@pytest.mark.parametrize("dialect", ["released", "linen"])
def test_conversion_there_and_back(params, released, tmp_path, dialect):
  convert.convert(released, tmp_path / "other.npz", dialect)
  flat = read_weights(tmp_path / "other.npz").flat
  chex.assert_trees_all_equal(flat, trees.flatten(params), strict=True)


@pytest.mark.parametrize(("dst", "dialect"), [
    ("x.npz", "big_vision"), ("x.safetensors", "timm"),
    ("x.safetensors", "hugging_face")])
def test_layouts_without_a_place_for_it(released, tmp_path, dst, dialect):
  with pytest.raises(CheckpointError, match="ResNet has no names in"):
    convert.convert(released, tmp_path / dst, dialect)


def test_architecture_makes_the_same_network_again():
  arguments = MODEL.architecture()
  assert architecture.build_network(
      arguments, scan=False, attention="auto") == MODEL

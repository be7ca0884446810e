"""A config follows the file in init.path: network and image size."""

import numpy as np
import pytest

from vit_jax.config import schema
from vit_jax.errors import CheckpointError, UsageError
from vit_jax.models.variants import make_model
from vit_jax.weights.follow import follow_file, refuse_other_sizes
from vit_jax.weights.read import WeightsFile

SMALL = dict(width=32, depth=2, mlp_dim=48, num_heads=4)


def file_of(variant, image_size=(32, 32), num_classes=7, **options):
  """Returns a file of a network, without the arrays, which are not looked at.

  """
  model = make_model(variant, num_classes=num_classes, **options)
  return WeightsFile("a.npz", {}, model.architecture(), image_size, "", {})


def open_config(**model):
  config = schema.default_config()
  config.init.path = "a.npz"
  config.train.steps = 1
  config.data.image_size = None
  config.model.update(model)
  return schema.resolve(config)


def made(config):
  return make_model(**config.model.to_dict() | {"num_classes": 7})


@pytest.mark.parametrize(("variant", "options"), [
    ("B/32", {}), ("L/16", {}), ("S/16", dict(gelu="erf", ln_eps=1e-12)),
    ("Ti/4", SMALL), ("B/16", dict(width=96)), ("R26+S/32", {}),
    ("R50+B/16", dict(width=384)), ("R+Ti/16", {}), ("R50x1", {}),
    ("R152x2", {}),
    ("S/16", dict(block="axial", pooling="gap", qkv_bias=False)),
    ("S/16", dict(posemb="2d", posemb_at="layers_shared", pooling="map")),
    ("S/16", dict(posemb="rope2d", qk_norm=True))])
def test_an_open_variant_is_the_files_network(variant, options):
  file = file_of(variant, **options)
  config = follow_file(open_config(), file)
  assert made(config).architecture() == file.model().architecture()
  assert config.data.image_size == 32


def test_the_hidden_layer_stays_with_the_head():
  file = file_of("S/16", pre_logits=True)
  assert not follow_file(open_config(), file).model.pre_logits


def test_keys_that_the_config_sets_stay():
  config = follow_file(
      open_config(dropout=0.1, pooling="gap"), file_of("S/16", gelu="erf"))
  assert (config.model.dropout, config.model.pooling) == (0.1, "gap")
  assert (config.model.variant, config.model.gelu) == ("S/16", "erf")


def test_a_variant_that_is_named_stays():
  config = open_config(variant="B/16")
  assert follow_file(config, file_of("B/32")).model == config.model


@pytest.mark.parametrize(("variant", "options", "message"), [
    ("B/16", dict(patch_size=(4, 2)), r"patch_size is \(4, 2\)"),
    ("R26+S/32", {}, r"resnet is \(1, 2, 1, 1\)")])
def test_a_network_that_no_config_describes(variant, options, message):
  file = file_of(variant, **options)
  if variant != "B/16":
    file.architecture["resnet"] = (1, 2, 1, 1)
  with pytest.raises(UsageError, match=f"no config describes.*{message}"):
    follow_file(open_config(), file)


def test_the_size_is_the_files():
  config = follow_file(open_config(), file_of("S/16", image_size=(32, 48)))
  assert schema.image_size(config) == (32, 48)
  with pytest.raises(UsageError, match="nothing .*--config.data.image_size"):
    follow_file(open_config(), file_of("S/16", image_size=None))


@pytest.mark.parametrize(("file", "config", "message"), [
    (dict(variant="B/32"), dict(variant="B/16"),
     r"the file is B/32 \(.*patches 32x32\), the config B/16 \(.*16x16\); set "
     "--config.model.variant=B/32, or another init.path"),
    (dict(variant="Ti/4", **SMALL), dict(variant="Ti/4", **SMALL | {
        "depth": 3}), "set --config.model.depth=2, or"),
    (dict(variant="Ti/4", **SMALL), dict(variant="S/16"),
     "set --config.model.patch_size=4 --config.model.width=32"),
    (dict(variant="R50x1"), dict(variant="B/16"), "variant=R50x1, or"),
    (dict(variant="R26+S/32"), dict(variant="S/32"), "variant=R26[+]S/32, or"),
])
def test_another_network_is_said_in_one_line(file, config, message):
  model = make_model(**config, num_classes=2)
  with pytest.raises(CheckpointError, match=message) as error:
    refuse_other_sizes(model, file_of(**file))
  assert "\n" not in str(error.value) and len(str(error.value)) < 320
  refuse_other_sizes(model, file_of(**config))


def test_init_params_says_it_before_it_lists_arrays(
    small_model, random_flat, save_npz, tmp_path):
  from vit_jax.weights.load import init_params

  path = save_npz(tmp_path / "a.npz", random_flat(small_model()))
  other = small_model().clone(depth=small_model().depth + 1)
  with pytest.raises(CheckpointError, match="the file is .*, the config"):
    init_params(path, other, 8)
  assert np.isfinite(init_params(path, small_model(), 8)[0]["cls"]).all()

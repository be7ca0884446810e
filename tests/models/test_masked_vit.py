"""The model for masked patch prediction: names, corruption, heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.devices.sharding import make_mesh, tree_shardings
from vit_jax.errors import UsageError
from vit_jax.models import masked_vit
from vit_jax.models.masked_vit import KEEP, MASK, REPLACE, Corruption
from vit_jax.weights.trees import flatten

WIDTHS = {"mean_colour": 512, "colour_4x4": 8192, "regression": 192}


def wrap(model, target="mean_colour", corrupted=0.5):
  return masked_vit.masked_patch_model(
      model, target=target, corrupted=corrupted)


def shapes(model, images):
  tree = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
  return {name: x.shape for name, x in flatten(tree).items()}


@pytest.mark.parametrize("target", WIDTHS)
@pytest.mark.parametrize("scan", [False, True])
def test_shares_every_name_with_the_vit(tiny, images, target, scan):
  plain = shapes(tiny(num_classes=0, scan=scan), images())
  extra = shapes(wrap(tiny(scan=scan), target), images())
  head = masked_vit.TARGETS[target]
  assert {k: extra.pop(k) for k in set(extra) - set(plain)} == {
      "mask_embedding": (1, 1, 32), f"{head}/kernel": (32, WIDTHS[target]),
      f"{head}/bias": (WIDTHS[target],)}
  assert extra == plain


@pytest.mark.parametrize("target", WIDTHS)
def test_sharding_rules_cover_the_names(tiny, images, target):
  model = wrap(tiny(), target)
  mesh = make_mesh(data=2, fsdp=2, tensor=2)
  tree = jax.eval_shape(model.init, jax.random.key(0), images())["params"]
  tree_shardings(tree, mesh)
  with pytest.raises(ValueError, match="no sharding rule covers"):
    tree_shardings(tree | {"unheard_of": tree["mask_embedding"]}, mesh)


def test_uncorrupted_it_encodes_as_the_vit(tiny, images, random_params):
  model = wrap(tiny())
  params = random_params(model, images())
  _, aux = model.apply({"params": params}, images())
  plain = {k: v for k, v in params.items()
           if k not in ("mask_embedding", "mean_colour")}
  _, expected = tiny(num_classes=0).apply({"params": plain}, images())
  np.testing.assert_array_equal(aux["encoded"], expected["encoded"])


def test_corrupt_by_hand():
  x = jnp.arange(8.0).reshape(1, 4, 2)
  out = masked_vit.corrupt(x, jnp.full((1, 1, 2), -1.0), Corruption(
      positions=jnp.array([[3, 0, 1]]),
      action=jnp.array([[REPLACE, MASK, KEEP, KEEP]]),
      other=jnp.array([[1, 0, 0, 2]])))
  assert out.tolist() == [[[2, 3], [-1, -1], [4, 5], [6, 7]]]


@pytest.mark.parametrize("pooling", ["cls", "gap"])
def test_predictions_are_of_the_positions_asked_for(
    tiny, images, random_params, pooling):
  model = wrap(tiny(pooling=pooling))
  params = random_params(model, images())
  everywhere, aux = model.apply({"params": params}, images())
  assert everywhere.shape == (2, 9, 512)
  patches = aux["encoded"][:, -9:]
  head = params["mean_colour"]
  np.testing.assert_allclose(
      everywhere, patches @ head["kernel"] + head["bias"][None, None],
      rtol=1e-4, atol=1e-4)
  positions = jnp.array([[8, 2], [0, 5]])
  some, _ = model.apply({"params": params}, images(), corruption=Corruption(
      positions, jnp.zeros((2, 9), int), jnp.zeros((2, 9), int)))
  np.testing.assert_allclose(
      some, np.take_along_axis(everywhere, positions[..., None], 1),
      rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("changes, arguments, message", [
    ({}, {"target": "colour"}, "objective.target='colour' is unknown"),
    ({}, {"corrupted": 0.0}, "objective.corrupted=0.0 is not a fraction"),
    ({"resnet": (1,)}, {}, "hides patches from a plain ViT"),
    ({"pre_logits": 8}, {}, "model.pre_logits is a layer"),
    ({"patch_size": (2, 2)}, {"target": "colour_4x4"}, "at least 4x4 pixels")])
def test_errors(tiny, changes, arguments, message):
  with pytest.raises(UsageError, match=message):
    wrap(tiny(**changes), **arguments)

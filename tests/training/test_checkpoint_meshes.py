"""A checkpoint of any mesh restores onto any other, and onto one CPU."""

import chex
import jax
import pytest

from vit_jax.devices.sharding import make_mesh
from vit_jax.models.variants import make_model
from vit_jax.optim import make_optimizer
from vit_jax.training.checkpoint import Checkpointer
from vit_jax.training.state import abstract_state, create_state, state_maker
from vit_jax.training.stored_params import restore_params

MESHES = {
    "data": dict(data=8), "fsdp": dict(data=1, fsdp=8),
    "tensor": dict(data=2, tensor=4), "mixed": dict(data=2, fsdp=2, tensor=2),
    "one": dict(data=1)}


def mesh_of(name):
  return make_mesh(devices=jax.devices()[:1] if name == "one" else None,
                   **MESHES[name])


def parts(name):
  model = make_model(
      "Ti/16", num_classes=8, patch_size=8, width=32, depth=2, mlp_dim=64,
      num_heads=4)
  optimizer, _ = make_optimizer(total_steps=9, warmup_steps=1)
  make = state_maker(model, optimizer, image_size=(16, 16), seed=3, ema=True)
  return make, abstract_state(make, mesh_of(name))


@pytest.fixture(scope="module", params=[
    "mixed", *(pytest.param(name, marks=pytest.mark.thorough)
               for name in ("data", "fsdp", "tensor"))])
def saved(request, tmp_path_factory):
  """A checkpoint with numbers of its own in every array, and the numbers."""
  folder = tmp_path_factory.mktemp(request.param)
  make, abstract = parts(request.param)
  state = create_state(make, abstract)
  keys = iter(range(10_000))
  state = jax.tree.map(
      lambda x: x + jax.random.normal(
          jax.random.key(next(keys)), x.shape).astype(x.dtype), state)
  state = jax.device_put(state, jax.tree.map(lambda x: x.sharding, abstract))
  checkpointer = Checkpointer(str(folder), save_every=1, keep=1)
  checkpointer.save(7, state, {"note": 1})
  checkpointer.close()
  return folder, jax.device_get(state)


@pytest.mark.parametrize("onto", MESHES)
def test_restores_onto(saved, onto):
  folder, wanted = saved
  _, abstract = parts(onto)
  checkpointer = Checkpointer(str(folder), save_every=1, keep=1)
  state, note = checkpointer.restore_latest(abstract)
  checkpointer.close()
  assert note == {"note": 1}
  chex.assert_trees_all_equal(jax.device_get(state), wanted)
  chex.assert_trees_all_equal_shapes_and_dtypes(state, abstract)
  assert jax.tree.map(lambda x: x.sharding, state) == jax.tree.map(
      lambda x: x.sharding, abstract)
  if onto in ("fsdp", "mixed", "tensor"):
    split = [x for x in jax.tree.leaves(state)
             if not x.sharding.is_fully_replicated]
    # Parameters, both moments and the average.
    assert len(split) > 4 * 10


def test_the_average_alone_on_one_cpu(saved):
  folder, wanted = saved
  _, abstract = parts("one")
  average = restore_params(
      str(folder / "checkpoints" / "7"), abstract.params)
  chex.assert_trees_all_equal(jax.device_get(average), wanted.ema)
  with pytest.raises(AssertionError):
    chex.assert_trees_all_equal(jax.device_get(average), wanted.params)

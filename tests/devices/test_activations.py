"""With fsdp the parameters travel, and the examples stay where they are."""

import math
import re

import jax
import jax.numpy as jnp
import pytest

from vit_jax.devices.partition import over, split_batch
from vit_jax.devices.sharding import batch_sharding, make_mesh
from vit_jax.models import block, vit
from vit_jax.models.variants import make_model
from vit_jax.objectives import make_loss
from vit_jax.optim import make_optimizer
from vit_jax.training.state import abstract_state, state_maker
from vit_jax.training.step import make_train_step

# 4 x 4 patches and the class token: a length that nothing else here has.
TOKENS = 17
COLLECTIVE = re.compile(
    r"= (?P<type>.*?) (?:all-gather|all-reduce|reduce-scatter|all-to-all"
    r"|collective-permute)(?:-start)?\(")


def moved(scan, remat="none", accumulate=1):
  """Returns the shapes with a token axis that one update sends about."""
  model = make_model(
      "Ti/16", num_classes=24, patch_size=4, width=64, depth=2, mlp_dim=128,
      num_heads=8, scan=scan, remat=remat)
  mesh = make_mesh(data=1, fsdp=8)
  optimizer, schedule = make_optimizer(total_steps=9, warmup_steps=1)
  abstract = abstract_state(
      state_maker(model, optimizer, image_size=(16, 16), seed=0, ema=False),
      mesh)
  step = make_train_step(
      make_loss(model), optimizer, schedule, mesh=mesh, accumulate=accumulate,
      shardings=jax.tree.map(lambda x: x.sharding, abstract))
  rows = batch_sharding(mesh)
  batch = {
      "image": jax.ShapeDtypeStruct((256, 16, 16, 3), jnp.uint8, sharding=rows),
      "label": jax.ShapeDtypeStruct((256,), jnp.int32, sharding=rows)}
  text = step.lower(abstract, batch).compile().as_text()
  found = []
  for match in COLLECTIVE.finditer(text):
    for shape in re.findall(r"\[([\d,]+)\]", match["type"]):
      sides = [int(n) for n in shape.split(",")]
      # n d numbers are the gradient of the position embedding.
      if TOKENS in sides and math.prod(sides) > TOKENS * 64:
        found.append(tuple(sides))
  return found


@pytest.mark.parametrize(("scan", "remat", "accumulate"), [
    (False, "none", 1), (True, "dots", 1), (False, "none", 2)])
def test_no_activations_travel(scan, remat, accumulate):
  assert not moved(scan, remat, accumulate)


def test_left_to_itself_xla_sends_activations(monkeypatch):
  for module in (block, vit):
    monkeypatch.setattr(module, "split_batch", lambda x, **_: x)
  assert moved(scan=True)


def test_nothing_is_constrained_outside_a_mesh():
  x = jnp.ones((8, 3))
  assert split_batch(x) is x


def test_the_mesh_is_reset_after_an_error():
  def fail(x):
    split_batch(x)
    raise ValueError("inside")

  mesh = make_mesh()
  with pytest.raises(ValueError, match="inside"):
    over(mesh, fail)(jnp.ones((8, 3)))
  x = jnp.ones((8, 3))
  assert split_batch(x) is x

"""Position embeddings: what each kind adds, and what it costs."""

import jax
import numpy as np
import pytest


def run(model, params, pictures):
  return jax.jit(lambda p, x: model.apply({"params": p}, x))(params, pictures)


def test_without_positions_the_order_of_patches_does_not_matter(
    tiny, images, random_params):
  pictures = images(8, 24)
  swapped = np.concatenate([pictures[:, :, 16:], pictures[:, :, :16]], axis=2)
  for posemb, same in (("none", True), ("1d", False)):
    model = tiny(depth=1, posemb=posemb)
    params = random_params(model, pictures)
    one, two = (run(model, params, x)[0] for x in (pictures, swapped))
    assert np.allclose(one, two, atol=1e-4) == same


@pytest.mark.parametrize("posemb", ["none", "1d"])
def test_parameters_that_each_kind_adds(tiny, images, posemb):
  shapes = jax.eval_shape(
      tiny(posemb=posemb).init, jax.random.key(0), images(16, 24))["params"]
  if posemb == "none":
    assert "posembed_input" not in shapes["Transformer"]
  else:
    assert shapes["Transformer"]["posembed_input"]["pos_embedding"].shape == (
        1, 7, 32)

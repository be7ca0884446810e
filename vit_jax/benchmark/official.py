"""The networks of the official code, read from a clone of its repository.

Its package bears the name of this one and does not install beside it. The two
files that define its networks need flax only.
"""

import contextlib
import functools
import importlib.util
import pathlib
import sys
import types
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict
import optax

from vit_jax.benchmark.peers import SIZE, Peer, Turn, network_of
from vit_jax.errors import UsageError, one_line

NUM_CLASSES = 1000
RATE, MOMENTUM = 1e-3, 0.9


def official_peer(clone: str) -> Peer:
  """Returns the networks of google-research/vision_transformer, compiled.

  Its training loop is for one program a device (pmap), so that an update is
  written here: its network, optax's SGD with momentum, one compiled program.

  Args:
    clone: folder of the clone, at any commit whose models are of Flax linen.

  Raises:
    UsageError: the folder is none, or its files cannot be read.
  """
  models = _read(pathlib.Path(clone) / "vit_jax")
  return Peer("official", functools.partial(_turn, models))


def _read(folder: pathlib.Path) -> types.ModuleType:
  """Returns the clone's models_vit.py as a module."""
  with contextlib.ExitStack() as stack:
    for name in ("models_resnet", "models_vit"):
      path = folder / f"{name}.py"
      if not path.is_file():
        raise UsageError(
            f"there is no {path}: --clone takes a clone of "
            "github.com/google-research/vision_transformer")
      # As it is called in the clone, where the second imports the first.
      spec = importlib.util.spec_from_file_location(f"vit_jax.{name}", path)
      assert spec is not None and spec.loader is not None
      module = importlib.util.module_from_spec(spec)
      sys.modules[module.__name__] = module
      stack.callback(sys.modules.pop, module.__name__)
      try:
        spec.loader.exec_module(module)
      except Exception as error:
        raise UsageError(f"{path} cannot be imported beside this release of "
                         f"flax: {one_line(error)}") from error
  return module


def _turn(
    models: types.ModuleType, model: str, batch: int, work: str) -> Turn:
  """Returns the official network's inference, or an update."""
  ours = network_of(model, batch)
  network = models.VisionTransformer(
      num_classes=NUM_CLASSES,
      patches=ConfigDict({"size": ours.patch_size}), hidden_size=ours.width,
      transformer=dict(
          mlp_dim=ours.mlp_dim, num_heads=ours.num_heads,
          num_layers=ours.depth, dropout_rate=0.0,
          attention_dropout_rate=0.0),
      classifier="token")
  images = jax.random.uniform(jax.random.key(0), (batch, SIZE, SIZE, 3))
  params = jax.jit(functools.partial(network.init, train=False))(
      jax.random.key(1), images)["params"]
  if work == "forward":

    @jax.jit
    def forward(
        params: Any, images: Float[Array, "b h w 3"]
    ) -> Float[Array, "b classes"]:
      return network.apply({"params": params}, images, train=False)

    return lambda: jax.block_until_ready(forward(params, images))

  optimizer = optax.sgd(RATE, MOMENTUM)
  state = [params, optimizer.init(params)]

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def update(
      params: Any, moments: Any, images: Float[Array, "b h w 3"]
  ) -> tuple[Any, Any]:

    def loss(params: Any) -> Float[Array, ""]:
      logits = network.apply(
          {"params": params}, images, train=True,
          rngs={"dropout": jax.random.key(2)})
      return optax.softmax_cross_entropy_with_integer_labels(
          logits, jnp.arange(batch)).mean()

    updates, moments = optimizer.update(jax.grad(loss)(params), moments)
    return optax.apply_updates(params, updates), moments

  def turn() -> Any:  # noqa: ANN401
    state[:] = jax.block_until_ready(update(*state, images))
    return state[0]

  return turn

"""Our pace beside that of others on this machine, and beside the products'.

The contestants take turns, so that what else the machine does hits all alike;
ratios are formed within a turn. The limit is the time that XLA takes for the
network's matrix products alone.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import os
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vit_jax.benchmark.options import config_for
from vit_jax.benchmark.timed import step_of
from vit_jax.config import schema
from vit_jax.devices.sharding import make_mesh
from vit_jax.errors import UsageError, one_line
from vit_jax.models.vit import VisionTransformer
from vit_jax.training.program import Program, make_program

TIMM = {"Ti/16": "vit_tiny_patch16_224", "S/16": "vit_small_patch16_224",
        "S/32": "vit_small_patch32_224", "B/16": "vit_base_patch16_224",
        "B/32": "vit_base_patch32_224", "L/16": "vit_large_patch16_224"}
WORK = ("forward", "train")
SIZE = 224
Turn = Callable[[], Any]


def ratio_of(
    ours: Sequence[float], theirs: Sequence[float]
) -> tuple[float, float, float]:
  """Returns how many times as fast ours is: the median, lowest, highest turn.

  Args:
    ours, theirs: seconds of the same turns.
  """
  ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
  return statistics.median(ratios), ratios[0], ratios[-1]


@dataclasses.dataclass(frozen=True)
class Comparison:
  """One model at one kind of work.

  Attributes:
    peer, model, work, batch: what was compared.
    ours, theirs, products: seconds of each turn.
  """

  peer: str
  model: str
  work: str
  batch: int
  ours: list[float]
  theirs: list[float]
  products: list[float]

  def pace(self, seconds: list[float]) -> float:
    """Returns images a second, of the median turn."""
    return self.batch / statistics.median(seconds)

  @property
  def ratio(self) -> tuple[float, float, float]:
    """See `ratio_of`."""
    return ratio_of(self.ours, self.theirs)

  @property
  def share(self) -> float:
    """The products' share of our time, of the median turn."""
    return ratio_of(self.ours, self.products)[0]


@dataclasses.dataclass(frozen=True)
class Peer:
  """Another implementation.

  Attributes:
    name: for tables.
    turn: from a model's name, the images of a batch and one of WORK to a
      function that does this work once.
  """

  name: str
  turn: Callable[[str, int, str], Turn]


def check_models(models: Sequence[str]) -> None:
  """Raises UsageError for a model that others have no equal of."""
  unknown = [name for name in models if name not in TIMM]
  if unknown:
    raise UsageError(f"--peers compares {', '.join(TIMM)}, not "
                     f"{', '.join(unknown)}")


def compare(
    peer: Peer, models: list[str], batch: int, turns: int,
    note: Callable[[str], None] = lambda text: None,
) -> Iterator[Comparison]:
  """Compares models at 224x224 in float32, each when the iterator reaches it.

  Args:
    peer: whom with.
    models: see `check_models`.
    batch: images at a time.
    turns: of each contestant, after one that is not timed.
    note: called with a line about what is measured now.
  """
  for model in models:
    for work in WORK:
      note(f"{model}, {work}")
      contestants = (_ours(model, batch, work), peer.turn(model, batch, work),
                     _products(model, batch, work))
      times = take_turns(contestants, turns)
      yield Comparison(peer.name, model, work, batch, *times)


def timm_peer() -> Peer:
  """Returns timm on PyTorch, with as many threads as we may use.

  Raises:
    UsageError: it is not installed.
  """
  try:
    import timm  # noqa: F401
    import torch
  # A torchvision that was built for another PyTorch fails as RuntimeError.
  except (ImportError, RuntimeError) as error:
    raise UsageError(
        f"--peers=timm needs PyTorch and timm ({one_line(error)}): pip install "
        "torch torchvision timm, of releases that belong together") from None
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  return Peer("timm", _timm)


def take_turns(
    contestants: Sequence[Turn], turns: int,
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
  """Returns the seconds of each contestant's turns, by a clock.

  One more turn comes first, which is not timed.
  """
  times: list[list[float]] = [[] for _ in contestants]
  for turn in range(turns + 1):
    for contestant, seconds in zip(contestants, times, strict=True):
      begin = clock()
      contestant()
      if turn:
        seconds.append(clock() - begin)
  return times


def network_of(model: str, batch: int) -> VisionTransformer:
  """Returns our network of a name."""
  network = program_of(model, batch).model
  assert isinstance(network, VisionTransformer)
  return network


def program_of(model: str, batch: int) -> Program:
  """Returns our program of a model: float32, SGD with momentum."""
  config = schema.resolve(schema.changed({
      "train.steps": 1_000_000, "model.dtype": "float32",
      "optim.name": "sgd", "optim.momentum_dtype": "float32",
      "data.image_size": SIZE, "data.batch_size": batch}))
  mesh = make_mesh(data=1, devices=jax.devices()[:1])
  return make_program(
      config_for(config, model), mesh, num_classes=1000, total=1_000_000)


def _ours(model: str, batch: int, work: str) -> Turn:
  step = step_of(program_of(model, batch), work, batch, SIZE)
  return lambda: jax.block_until_ready(step())


def _timm(model: str, batch: int, work: str) -> Turn:
  """Returns timm's inference, or update by SGD with momentum."""
  import timm
  import torch

  network: Any = timm.create_model(TIMM[model])
  images = torch.rand(batch, 3, SIZE, SIZE)
  labels = torch.arange(batch)
  if work == "forward":
    network.eval()

    def forward() -> None:
      with torch.inference_mode():
        network(images)

    return forward
  network.train()
  optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

  def update() -> None:
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(network(images), labels).backward()
    optimizer.step()

  return update


def _products(model: str, batch: int, work: str) -> Turn:
  """Returns XLA's matrix products of a network and nothing else.

  Backward each product has two more of its size.
  """
  network = network_of(model, batch)
  rng = np.random.default_rng(0)
  rows, cols = network.grid((SIZE, SIZE))
  tokens, width = rows * cols + network.prefix_tokens, network.width
  heads = network.num_heads

  def array(*shape: int) -> jax.Array:
    return jnp.asarray(rng.standard_normal(shape, np.float32))

  x, h = array(batch * tokens, width), array(batch * tokens, network.mlp_dim)
  q = array(batch, tokens, heads, width // heads)
  scores = array(batch, heads, tokens, tokens)
  one = jax.jit(lambda a, b: a @ b)
  pairs = [(x, array(width, width))] * 4 + [
      (x, array(width, network.mlp_dim)), (h, array(network.mlp_dim, width))]
  attend = [jax.jit(lambda q: jnp.einsum("bqhk,bshk->bhqs", q, q)),
            jax.jit(lambda q: jnp.einsum("bhqs,bshk->bqhk", scores, q))]
  times = network.depth * (3 if work == "train" else 1)

  def turn() -> None:
    for _ in range(times):
      for left, right in pairs:
        one(left, right).block_until_ready()
      for function in attend:
        function(q).block_until_ready()

  return turn

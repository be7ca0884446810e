"""What a config compiles to: model, state and train step, without any data.

Training runs it; `vit_jax compile` asks the TPU compiler what it would cost.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from vit_jax.config import schema
from vit_jax.config.sections import DataConfig, TrainConfig
from vit_jax.devices.compilation import compiler_options
from vit_jax.devices.sharding import check_batch_size
from vit_jax.models.network import Network
from vit_jax.models.variants import make_model
from vit_jax.objectives import make_loss, trained_model
from vit_jax.optim import make_optimizer
from vit_jax.training.state import TrainState, abstract_state, state_maker
from vit_jax.training.step import make_train_step


@dataclasses.dataclass(frozen=True)
class Program:
  """The compiled side of a run.

  Attributes:
    total: updates of the whole run.
    make: (params=None) -> TrainState at step 0.
    abstract: the state's shapes, dtypes and shardings.
    shardings: the state's shardings alone.
    train_step: (state, batch) -> (state, metrics), jitted.
  """

  mesh: Mesh
  model: Network
  total: int
  make: Callable[..., TrainState]
  abstract: TrainState
  shardings: TrainState
  train_step: Any


def make_program(
    config: ConfigDict, mesh: Mesh, *, num_classes: int, total: int,
    class_counts: Sequence[int] | None = None,
) -> Program:
  """Builds model, optimiser, state shapes and train step of a config.

  Args:
    config: resolved.
    mesh: of real or of described devices.
    num_classes: of the data, where config.model.num_classes is None.
    total: updates of the whole run.
    class_counts: training examples of each class, for balanced weights; None
      where nothing is trained.

  Raises:
    UsageError: the config does not fit itself or the mesh.
  """
  train, data = TrainConfig(**config.train), DataConfig(**config.data)
  options = compiler_options(
      train.xla, mesh.devices.flat[0].device_kind)
  check_batch_size(mesh, data.batch_size // train.accumulate)
  network = make_model(**config.model.to_dict() | {
      "num_classes": config.model.num_classes or num_classes})
  model = trained_model(network, **config.objective)
  optimizer, schedule = make_optimizer(total_steps=total, **config.optim)
  make = state_maker(
      model, optimizer, image_size=schema.image_size(config),
      seed=train.seed, ema=train.ema_decay is not None)
  abstract = abstract_state(make, mesh)
  shardings = jax.tree.map(lambda x: x.sharding, abstract)
  train_step = make_train_step(
      make_loss(model, class_counts=class_counts, **config.objective),
      optimizer, schedule, seed=train.seed, accumulate=train.accumulate,
      ema_decay=train.ema_decay, mesh=mesh, shardings=shardings,
      compiler_options=options)
  return Program(mesh, model, total, make, abstract, shardings, train_step)

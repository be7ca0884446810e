"""Opens what --checkpoint names: a file, released name, run or Orbax step."""

import argparse
import dataclasses
import json
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from vit_jax.errors import CheckpointError, UsageError
from vit_jax.paths import absolute, in_bucket, local_path
from vit_jax.weights import read
from vit_jax.weights.load import IN_FOLDERS, find_weights, load
from vit_jax.weights.loaded import Loaded

# Arguments of verbs that are arguments of `load`.
_OF_LOAD = (
    "image_size", "preprocess", "num_heads", "old_grid", "method", "posemb")
_IN_EVERY_STEP = ("state", "_CHECKPOINT_METADATA")


@dataclasses.dataclass(frozen=True)
class Step:
  """A checkpoint of a run: WORKDIR/checkpoints/STEP.

  Attributes:
    folder: its path.
    number: updates completed.
  """

  folder: epath.Path
  number: int

  @property
  def workdir(self) -> epath.Path:
    """Returns the working directory of the run."""
    return self.folder.parent.parent


def locate(checkpoint: str) -> str | Step:
  """Returns the file or Orbax step that a --checkpoint means.

  A working directory stands for its model.npz, or for its newest checkpoint
  where the run has not ended. Anything but a folder is returned unchanged, for
  `weights.load.find_weights`.

  Raises:
    CheckpointError: a run without either.
    UsageError: nothing is named.
    UserError: the package that reads this kind of bucket is not installed.
  """
  if not checkpoint:
    raise UsageError(
        "the checkpoint's name is empty; expected a file, a released name, a "
        "URL or a run's --workdir")
  checkpoint = local_path(checkpoint)
  # Other servers have files, but no folders that could be a run.
  if "://" in checkpoint and not in_bucket(checkpoint):
    return checkpoint
  path = epath.Path(absolute(checkpoint))
  if not path.is_dir():
    return checkpoint
  if path.name.isdecimal() and all((path / p).exists() for p in _IN_EVERY_STEP):
    return Step(path, int(path.name))
  if (path / "model.npz").exists():
    return str(path / "model.npz")
  folder = path if path.name == "checkpoints" else path / "checkpoints"
  steps = sorted(
      int(entry.name) for entry in folder.iterdir()
      if entry.name.isdecimal() and (entry / "state").exists()
  ) if folder.exists() else []
  if steps:
    return Step(folder / str(steps[-1]), steps[-1])
  if (path / "config.json").exists() and not any(
      (path / name).exists() for name in IN_FOLDERS):
    raise CheckpointError(
        f"{checkpoint}: this run has no model.npz and no checkpoint yet; wait "
        "for one, or lower the run's config.checkpoint.save_every")
  return checkpoint


def open_file(
    checkpoint: str, args: argparse.Namespace | None = None
) -> read.WeightsFile:
  """Reads the arrays and the description of a checkpoint.

  Args:
    checkpoint: anything that --checkpoint takes.
    args: those of `arguments.add_reading`.

  Raises:
    CheckpointError: it cannot be read.
    UsageError: neither a path nor a released name.
  """
  place = locate(checkpoint)
  if isinstance(place, Step):
    return read_step(place)
  return read.read_weights(
      find_weights(place)[0], **_said(args, "num_heads", "old_grid", "posemb"))


def open_arrays(checkpoint: str) -> dict[str, Any]:
  """Returns the arrays of a file under its own names, {} if it has none."""
  place = locate(checkpoint)
  if isinstance(place, Step):
    return {}
  try:
    return read.read_arrays(find_weights(place)[0])[0]
  except CheckpointError:
    return {}


def open_model(
    checkpoint: str, args: argparse.Namespace | None = None, **changes: Any
) -> Loaded:
  """Returns a model that runs.

  Args:
    checkpoint: anything that --checkpoint takes.
    args: those of a verb; what says how to load a file is passed on.
    **changes: other arguments of `vit_jax.load`.
  """
  place = locate(checkpoint)
  return load(read_step(place) if isinstance(place, Step) else place,
              **(_said(args, *_OF_LOAD) | changes))


def _said(args: argparse.Namespace | None, *names: str) -> dict[str, Any]:
  """Returns those of some arguments that a verb has and a user gave."""
  return {name: getattr(args, name) for name in names
          if getattr(args, name, None) is not None}


def run_config(checkpoint: str) -> dict[str, Any] | None:
  """Returns the config of a checkpoint's run, or None if there is no run."""
  place = locate(checkpoint)
  if isinstance(place, Step):
    return _read_config(place.workdir)
  if not place.endswith("model.npz") or (
      "://" in place and not in_bucket(place)):
    return None
  path = epath.Path(place).parent / "config.json"
  if not path.exists():
    return None
  return _read_config(path.parent)


def _read_config(workdir: epath.Path) -> dict[str, Any]:
  path = workdir / "config.json"
  try:
    return json.loads(path.read_text("utf-8"))["config"]
  except (OSError, ValueError, KeyError) as error:
    raise CheckpointError(
        f"{path}: the config of the run cannot be read ({error!r}); without "
        "it, the model of a checkpoint is not known") from None


def read_step(step: Step) -> read.WeightsFile:
  """Reads the parameters (the average, if kept) of an Orbax checkpoint.

  Raises:
    CheckpointError: it is damaged, or its run's config cannot be read.
  """
  import jax
  import numpy as np
  import orbax.checkpoint as ocp

  from vit_jax.config import schema
  from vit_jax.metrics import read_record
  from vit_jax.models.variants import make_model
  from vit_jax.training import workdir as workdir_lib
  from vit_jax.training.stored_params import restore_params
  from vit_jax.weights import trees

  config = schema.resolve(ConfigDict(_read_config(step.workdir)))
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  try:
    with ocp.PyTreeCheckpointer() as checkpointer:
      tree = checkpointer.metadata(step.folder / "state").item_metadata.tree
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device),
        tree.get("ema") or tree["params"])
    params = restore_params(str(step.folder), abstract)
  # Damage shows as almost any error, some of Orbax's without a class.
  except Exception as error:
    raise CheckpointError(
        f"{step.folder}: a damaged checkpoint ({str(error)[:200]}); open an "
        "earlier step, or resume the run from one") from None
  flat = trees.unstack_blocks(
      {name: np.asarray(a) for name, a in trees.flatten(params).items()})
  head = flat.get("head/kernel")
  model = make_model(**(config.model.to_dict() | {
      "num_classes": 0 if head is None else head.shape[-1], "scan": False}))
  size = schema.image_size(config)
  scores: dict[str, float] = {}
  for line in read_record(str(step.workdir)):
    if line["step"] <= step.number:
      scores |= {k: v for k, v in line.items() if k.startswith("eval/")}
  description = workdir_lib.model_description(
      model, image_size=size, preprocess=_preprocess(config),
      class_names=_class_names(config, model.num_classes), scores=scores,
      init={"path": config.init.path} if config.init.path else None,
      step=step.number, averaged=bool(tree.get("ema")),
      loss=config.objective.loss)
  return read.WeightsFile(
      str(step.folder), flat, description["architecture"], size,
      f"orbax, {'average' if tree.get('ema') else 'parameters'} of step "
      f"{step.number}", description)


def _preprocess(config: ConfigDict) -> str:
  """Returns the evaluation pipeline of a run."""
  return next((entry.preprocess for entry in config.evals.values()),
              "resize({size})")


def _class_names(
    config: ConfigDict, num_classes: int
) -> tuple[str, ...] | None:
  """Returns the training data's class names, None if they cannot be read."""
  from vit_jax.data.sources import make_source
  from vit_jax.errors import UserError

  try:
    names = make_source(config.data.source, split=config.data.split,
                        data_dir=config.data.data_dir).class_names
  except UserError:
    return None
  return names if names and len(names) == num_classes else None

"""Prepares everything that the loop uses, from a config and a directory."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from vit_jax.config import schema
from vit_jax.config.sections import DataConfig, TrainConfig
from vit_jax.data import loader, sources
from vit_jax.data.prefetch import prefetch
from vit_jax.data.sources.classes import check_labels, count_labels
from vit_jax.devices.distributed import refuse_differences, together
from vit_jax.devices.sharding import make_mesh, process_rows, put_batch
from vit_jax.errors import UserError
from vit_jax.evaluators import Evaluator, make_evaluator
from vit_jax.models.network import Network
from vit_jax.training import workdir as workdir_lib
from vit_jax.training.checkpoint import Checkpointer
from vit_jax.training.complete import completed
from vit_jax.training.finished import shared_facts
from vit_jax.training.once import read_once
from vit_jax.training.program import Program, make_program
from vit_jax.training.progress import Timer
from vit_jax.training.state import TrainState, create_state
from vit_jax.training.step import Batch
from vit_jax.training.watch import Watch
from vit_jax.weights.formats.checksum import sha256
from vit_jax.weights.load import find_weights, init_params
from vit_jax.weights.read import WeightsFile


@dataclasses.dataclass
class Run:
  """Everything that the loop uses; made by `setup`.

  Attributes:
    start: updates completed at the start of this process.
    note: JSON kept with every checkpoint (data fingerprint, start weights).
  """

  config: ConfigDict
  data: DataConfig
  train: TrainConfig
  workdir: str
  source: sources.Source
  program: Program
  state: TrainState
  start: int
  note: dict[str, Any]
  evaluators: dict[str, Evaluator]
  checkpointer: Checkpointer
  timer: Timer
  watch: Watch

  @property
  def total(self) -> int:
    """Updates of the whole run."""
    return self.program.total

  @property
  def image_size(self) -> tuple[int, int]:
    """(height, width) of a training image in pixels."""
    return schema.image_size(self.config)


def setup(config: ConfigDict, workdir: str) -> Run:
  """Opens data, builds model and state, restores the newest checkpoint.

  Args:
    config: see `vit_jax.config.schema.default_config`.
    workdir: of the run; its directory exists.

  Raises:
    UserError: the config, the data or the checkpoint cannot be used.
  """
  with together():
    config = workdir_lib.check_same_run(
        workdir, schema.resolve(config), data_are_checked=True)
    source = sources.make_source(
        config.data.source, split=config.data.split,
        data_dir=config.data.data_dir)
    facts = shared_facts(config)
    if jax.process_count() > 1:
      facts["the data"] = str(sources.fingerprint(source))
  refuse_differences(facts)
  config, weights = completed(config, source.num_classes)
  timer, data = Timer(), DataConfig(**config.data)
  balanced = config.objective.class_weights == "balanced"
  program = make_program(
      config, make_mesh(**config.mesh), num_classes=source.num_classes,
      total=schema.total_steps(config, len(source)),
      class_counts=count_labels(source).tolist() if balanced else None)
  # In self-supervision the model has no classes.
  if program.model.num_classes not in (0, source.num_classes):
    raise UserError(
        f"{source.name} has {source.num_classes} classes, but the head would "
        f"have {program.model.num_classes} (config.model.num_classes); leave "
        "that key out: the classes are then those of the data")
  if program.model.num_classes:
    source = check_labels(source)
  evaluators = make_evaluators(
      config, program.model, program.mesh, program.shardings.params, source)
  checkpointer = Checkpointer(workdir, **config.checkpoint)
  try:
    with timer("restore"):
      restored = checkpointer.restore_latest(program.abstract)
      if restored is None:
        state, note = fresh_state(config, program, source, weights)
      else:
        state, note = restored
        check_same_data(note, source)
    watch = make_watch(config, evaluators, note)
    checkpointer.best_step = watch.best_step
  except BaseException:
    checkpointer.close()  # Its threads must not outlive the error.
    raise
  return Run(
      config=config, data=data, train=TrainConfig(**config.train),
      workdir=workdir, source=source, program=program, state=state,
      start=int(state.step), note=note, evaluators=evaluators,
      checkpointer=checkpointer, timer=timer, watch=watch)


def _prepared(source: str) -> bool:
  """Tells whether a source is read from TFDS's folder."""
  return source.startswith(("tfds:", "vtab:"))


def make_evaluators(
    config: ConfigDict, model: Network, mesh: Mesh, shardings: Any,
    source: sources.Source | None = None,
) -> dict[str, Any]:
  """Builds every entry of config.evals; empty keys are those of training.

  The classes of an entry's data are matched by name with those of `source`,
  the training data.
  """
  data = DataConfig(**config.data)
  evaluators = {}
  for name, entry in config.evals.items():
    entry = entry.to_dict()
    # Data sets prepared by TFDS share a folder; folders of images do not.
    together = (not entry["source"] or (
        _prepared(entry["source"]) and _prepared(data.source)))
    entry["data_dir"] = entry["data_dir"] or (
        data.data_dir if together else "")
    entry["source"] = entry["source"] or data.source
    entry["batch_size"] = entry["batch_size"] or data.batch_size
    evaluators[name] = make_evaluator(
        model=model, mesh=mesh, image_size=schema.image_size(config),
        shardings=shardings, loss=config.objective.loss,
        num_threads=data.num_threads, max_broken=data.max_broken,
        num_classes=None if source is None else source.num_classes,
        class_names=None if source is None else source.class_names,
        **entry)
  return evaluators


def make_watch(
    config: ConfigDict, evaluators: Mapping[str, Evaluator],
    note: dict[str, Any],
) -> Watch:
  """Returns what looks at the scores, as far as the note knows them."""
  known = [f"{name}/{metric}" for name, evaluator in evaluators.items()
           for metric in evaluator.metrics if not config.evals[name].at_end]
  train = config.train
  return Watch(
      note, known, keep_best=config.checkpoint.keep_best,
      early_stopping=train.early_stopping, patience=train.patience,
      min_delta=train.min_delta)


def fresh_state(
    config: ConfigDict, program: Program, source: sources.Source,
    weights: WeightsFile | None = None,
) -> tuple[TrainState, dict[str, Any]]:
  """Returns the state of step 0, from config.init.path where it is given.

  `weights` are those of that file, where they have been read already.
  """
  note: dict[str, Any] = {
      "data": sources.fingerprint(source), "init": None}
  if not config.init.path:
    return create_state(program.make, program.abstract), note
  params, digest = read_once(
      lambda: _read_init(config, program, weights), program.abstract.params)
  note["init"] = {"path": config.init.path, "sha256": digest}
  return create_state(program.make, program.abstract, params), note


def _read_init(
    config: ConfigDict, program: Program, weights: WeightsFile | None
) -> tuple[Any, str]:
  """Returns the parameters to start from, and the SHA-256 of their file."""
  file, _ = find_weights(config.init.path)
  params, _ = init_params(
      model=program.model, image_size=schema.image_size(config),
      **(config.init.to_dict() | {"path": weights or file}))
  return params, sha256(file)


def check_same_data(note: dict[str, Any], source: sources.Source) -> None:
  """Raises UserError if the checkpoint was trained on other data."""
  if note["data"] != sources.fingerprint(source):
    raise UserError(
        f"{source.name} is not the data set that this run started with (other "
        "examples or classes); restore the data, or use a fresh --workdir")


def open_batches(run: Run) -> prefetch[Batch]:
  """Opens the training batches at the run's step; to be closed.

  Returns:
    Global batches placed on the mesh: "image" uint8 (b h w 3) and "label"
    int32 (b,).
  """
  data, mesh = run.data, run.program.mesh
  host = loader.train_batches(
      run.source, preprocess=data.preprocess, image_size=run.image_size,
      batch_size=data.batch_size, seed=run.train.seed, start_step=run.start,
      rows=process_rows(mesh, data.batch_size).tolist(),
      num_threads=data.num_threads, num_workers=data.num_workers,
      max_broken=data.max_broken)
  return prefetch(
      host, lambda batch: put_batch(batch, mesh, data.batch_size))


def headline(run: Run) -> str:
  """Returns a line that says what is trained, on what and from where."""
  height, width = run.image_size
  count = sum(x.size for x in jax.tree.leaves(run.state.params))
  begin = f"from step {run.start}" if run.start else (
      f"from {run.note['init']['path']}" if run.note["init"]
      else "from scratch")
  return (
      f"{run.program.model.variant_name} ({count:,} parameters) at "
      f"{height}x{width} on {run.source.name} ({len(run.source):,} "
      f"examples), {begin} to step {run.total}, batch "
      f"{run.data.batch_size} over {run.program.mesh.size} "
      f"{jax.devices()[0].device_kind} device(s)")

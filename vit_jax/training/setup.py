"""From a config and a directory to everything that the loop uses."""

from collections.abc import Iterator
import dataclasses
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from vit_jax.config import schema
from vit_jax.data import loader, sources
from vit_jax.devices.sharding import make_mesh, process_rows, put_batch
from vit_jax.errors import UserError
from vit_jax.evaluators import make_evaluator
from vit_jax.metrics import Timer
from vit_jax.models.variants import Network, variant_name
from vit_jax.training import workdir as workdir_lib
from vit_jax.training.checkpoint import Checkpointer
from vit_jax.training.program import Program, make_program
from vit_jax.training.state import TrainState, create_state
from vit_jax.weights.formats.checksum import sha256
from vit_jax.weights.load import find_weights, init_params


@dataclasses.dataclass
class Run:
  """Everything that the loop uses; made by `setup`.

  Attributes:
    start: updates completed at the start of this process.
    note: JSON kept with every checkpoint (data fingerprint, start weights).
  """

  config: ConfigDict
  workdir: str
  source: sources.Source
  program: Program
  state: TrainState
  start: int
  note: dict[str, Any]
  evaluators: dict[str, Any]
  checkpointer: Checkpointer
  timer: Timer

  @property
  def total(self) -> int:
    """Updates of the whole run."""
    return self.program.total


def setup(config: ConfigDict, workdir: str) -> Run:
  """Opens data, builds model and state, restores the newest checkpoint."""
  config = schema.resolve(config)
  workdir_lib.check_same_run(workdir, config)
  timer, data = Timer(), config.data
  source = sources.make_source(
      data.source, split=data.split, data_dir=data.data_dir)
  program = make_program(
      config, make_mesh(**config.mesh), num_classes=source.num_classes,
      total=schema.total_steps(config, len(source)))
  # Self-supervision has no classes at all.
  if 0 < program.model.num_classes < source.num_classes:
    raise UserError(
        f"{source.name} has {source.num_classes} classes, but "
        f"config.model.num_classes={program.model.num_classes}")
  evaluators = make_evaluators(
      config, program.model, program.mesh, program.shardings.params)
  checkpointer = Checkpointer(workdir, **config.checkpoint)
  try:
    with timer("restore"):
      restored = checkpointer.restore_latest(program.abstract)
      if restored is None:
        state, note = fresh_state(config, program, source)
      else:
        state, note = restored
        check_same_data(note, source)
  except BaseException:
    checkpointer.close()  # Its threads must not outlive the error.
    raise
  return Run(
      config=config, workdir=workdir, source=source, program=program,
      state=state, start=int(state.step), note=note, evaluators=evaluators,
      checkpointer=checkpointer, timer=timer)


def _prepared(source: str) -> bool:
  """Whether a source is read from TFDS's folder."""
  return source.startswith(("tfds:", "vtab:"))


def make_evaluators(
    config: ConfigDict, model: Network, mesh: Mesh, shardings: Any
) -> dict[str, Any]:
  """Builds every entry of config.evals; what is left empty is training's."""
  data = config.data
  evaluators = {}
  for name, entry in config.evals.items():
    entry = entry.to_dict()
    # What TFDS has prepared lies together; pictures in a folder do not.
    together = (not entry["source"] or (
        _prepared(entry["source"]) and _prepared(data.source)))
    entry["data_dir"] = entry["data_dir"] or (
        data.data_dir if together else "")
    entry["source"] = entry["source"] or data.source
    entry["batch_size"] = entry["batch_size"] or data.batch_size
    evaluators[name] = make_evaluator(
        model=model, mesh=mesh, image_size=schema.image_size(config),
        shardings=shardings, loss=config.objective.loss,
        num_threads=data.num_threads, max_broken=data.max_broken, **entry)
  return evaluators


def fresh_state(
    config: ConfigDict, program: Program, source: sources.Source
) -> tuple[TrainState, dict[str, Any]]:
  """Returns the state of step 0, from config.init.path where it is given."""
  note = {"data": sources.fingerprint(source), "init": None}
  if not config.init.path:
    return create_state(program.make, program.abstract), note
  file, _ = find_weights(config.init.path)
  params, _ = init_params(
      model=program.model, image_size=schema.image_size(config),
      **(config.init.to_dict() | {"path": file}))
  note["init"] = {"path": config.init.path, "sha256": sha256(file)}
  return create_state(program.make, program.abstract, params), note


def check_same_data(note: dict[str, Any], source: sources.Source) -> None:
  """Raises UserError if the checkpoint was trained on other data."""
  if note["data"] != sources.fingerprint(source):
    raise UserError(
        f"{source.name} is not the data set that this run began with (other "
        "examples or classes); restore the data, or use a fresh --workdir")


def open_batches(run: Run) -> Iterator[Any]:
  """Opens the training batches at the run's step, placed on the mesh."""
  data = run.config.data
  rows = process_rows(run.program.mesh, data.batch_size)
  host = loader.train_batches(
      run.source, preprocess=data.preprocess,
      image_size=schema.image_size(run.config),
      batch_size=data.batch_size, seed=run.config.train.seed,
      start_step=run.start, rows=rows, num_threads=data.num_threads,
      num_workers=data.num_workers, max_broken=data.max_broken)
  return loader.prefetch(
      host, lambda batch: put_batch(batch, run.program.mesh, data.batch_size))


def headline(run: Run) -> str:
  """Says what is about to be trained, on what, from where."""
  size = schema.image_size(run.config)
  count = sum(x.size for x in jax.tree.leaves(run.state.params))
  begin = f"from step {run.start}" if run.start else (
      f"from {run.note['init']['path']}" if run.note["init"]
      else "from scratch")
  return (
      f"{variant_name(run.program.model)} ({count:,} parameters) at "
      f"{size[0]}x{size[1]} on {run.source.name} ({len(run.source):,} "
      f"examples), {begin} to step {run.total}, batch "
      f"{run.config.data.batch_size} over {run.program.mesh.size} "
      f"{jax.devices()[0].device_kind} device(s)")

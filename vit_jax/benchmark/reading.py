"""How fast weights and checkpoints are read, beside what the disk gives.

What was written is put out of the system's cache before every turn, so that all
of it comes from the disk; no rights are needed for that.
"""

from collections.abc import Callable
import dataclasses
import os
import pathlib
import statistics

import jax
import jax.numpy as jnp
from jaxtyping import Array
import numpy as np

from vit_jax.benchmark.peers import (
    SIZE,
    Turn,
    network_of,
    program_of,
    ratio_of,
    take_turns,
)
from vit_jax.errors import UsageError
from vit_jax.training.checkpoint import Checkpointer
from vit_jax.training.state import TrainState, create_state
from vit_jax.weights import adapt
from vit_jax.weights.formats.npz import write_npz
from vit_jax.weights.load import load
from vit_jax.weights.names import google

_PIECE = 1 << 23  # bytes


@dataclasses.dataclass(frozen=True)
class ReadingPace:
  """One kind of file.

  Attributes:
    name: for tables.
    bytes: of the files.
    ours, disk: seconds of each turn, of this package and of reading the same
      bytes and doing nothing with them.
  """

  name: str
  bytes: int
  ours: list[float]
  disk: list[float]

  def pace(self, seconds: list[float]) -> float:
    """Returns bytes a second, of the median turn."""
    return self.bytes / statistics.median(seconds)

  @property
  def ratio(self) -> tuple[float, float, float]:
    """Our share of the disk's speed, see `ratio_of`."""
    return ratio_of(self.ours, self.disk)


def compare_reading(
    model: str, folder: pathlib.Path, turns: int,
    note: Callable[[str], None] = lambda text: None,
) -> list[ReadingPace]:
  """Compares a model's .npz file and its checkpoint with the disk.

  Args:
    model: a name of `vit_jax.benchmark.peers.TIMM`.
    folder: an empty one, on the disk.
    turns: of each contestant, after one that is not timed.
    note: called with a line about what is done now.

  Raises:
    UsageError: the system cannot put files out of its cache.
  """
  if not hasattr(os, "posix_fadvise"):
    raise UsageError("--peers=disk needs a system with posix_fadvise, as Linux")
  note(f"writing {model}")
  path = _write_npz(model, folder / "model.npz")
  reads: dict[str, tuple[list[pathlib.Path], Turn]] = {
      "model.npz": ([path], lambda: load(path).params)}
  program = program_of(model, 1)
  checkpoints = folder / "run"
  writer = Checkpointer(str(checkpoints), save_every=1, keep=1)
  writer.save(1, _full(create_state(program.make, program.abstract)), {})
  writer.close()
  files = [x for x in checkpoints.rglob("*") if x.is_file()]
  reads["checkpoint"] = files, lambda: _restore(checkpoints, program.abstract)
  os.sync()  # What is still to be written stays in the cache.
  found = []
  for name, (files, ours) in reads.items():
    note(f"reading {name}, in turns")
    times = take_turns(
        (_uncached(files, ours), _uncached(files, _reading(files))), turns)
    found.append(ReadingPace(
        name, sum(file.stat().st_size for file in files), *times))
  return found


def _write_npz(model: str, path: pathlib.Path) -> pathlib.Path:
  """Writes a released file of the model, of random numbers."""
  rng = np.random.default_rng(0)
  shapes = adapt.expected_shapes(network_of(model, 1), (SIZE, SIZE))
  write_npz(path, google.encode({
      name: rng.random(shape, np.float32) for name, shape in shapes.items()},
      "released"))
  return path


def _full(state: TrainState) -> TrainState:
  """Returns a state without zeros, which would take no room on the disk."""
  keys = iter(jax.random.split(
      jax.random.key(0), len(jax.tree.leaves(state))))

  def noisy(x: Array) -> Array:
    key = next(keys)
    return x + jax.random.normal(key, x.shape, x.dtype) if jnp.issubdtype(
        x.dtype, jnp.floating) else x

  return jax.tree.map(noisy, state)


def _restore(folder: pathlib.Path, abstract: object) -> object:
  """Restores as a run does, with the checksum of every array verified."""
  reader = Checkpointer(str(folder), save_every=1, keep=1)
  try:
    return reader.restore_latest(abstract)  # type: ignore[arg-type]
  finally:
    reader.close()


def _reading(files: list[pathlib.Path]) -> Turn:
  """Returns what reads the files and nothing else."""

  def read() -> None:
    buffer = bytearray(_PIECE)
    for path in files:
      with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
          pass

  return read


def _uncached(files: list[pathlib.Path], function: Turn) -> Turn:
  """Returns the function, run when none of the files is in the cache."""

  def turn() -> None:
    for path in files:
      with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    jax.block_until_ready(function())

  return turn

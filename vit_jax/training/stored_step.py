"""One checkpoint on the disk: sealed with checksums, restored, proved, moved.

The seal is a part of the note that every checkpoint holds: a checksum of each
array, and one of the note itself.
"""

from collections.abc import Iterator, Sequence
import copy
import json
from typing import Any, NamedTuple
import zlib

from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from vit_jax.devices.distributed import is_primary, text_from_primary
from vit_jax.errors import CheckpointError, abbreviate, is_no_answer, one_line
from vit_jax.paths import in_bucket
from vit_jax.training import orbax_noise
from vit_jax.training.checksums import checksums
from vit_jax.training.read_arrays import read_arrays
from vit_jax.training.state import TrainState

_SEAL = "checksums"
_NOTE = "note"  # the checksum of the rest of the note
# Arrays that are read back together: bytes, and parts of the whole state.
_GROUP_BYTES, _GROUPS = 128 << 20, 16

Restored = tuple[TrainState, dict[str, Any]]


class Fault(NamedTuple):
  """Why a step cannot be restored.

  Attributes:
    text: one line.
    foreign: whether it is of another model or optimiser.
    unread: whether the storage did not answer. Without either it is damaged.
  """

  text: str
  foreign: bool = False
  unread: bool = False


def seal(note: dict[str, Any], state: TrainState) -> dict[str, Any]:
  """Returns a note with the checksums of itself and of every array."""
  # A copy: it is written in the background, and the run's changes.
  return {**copy.deepcopy(note),
          _SEAL: {_NOTE: _note_checksum(note), **checksums(state)}}


def restore(
    folder: epath.Path, abstract: TrainState
) -> tuple[Restored | None, Fault | None]:
  """Restores a step and verifies its checksums.

  Args:
    folder: of the step.
    abstract: the state's shapes, dtypes and shardings.

  Returns:
    (state, note) without the seal, or None; and what is wrong, or None.
  """
  difference = ""
  if is_primary():
    with orbax_noise.quietly():
      difference = _difference(folder, abstract) or ""
  if difference := text_from_primary(difference):
    return None, Fault(difference, foreign=True)
  try:
    state = read_arrays(folder / "state", abstract)
    note = _read_note(folder)
    # Checkpoints of earlier versions have no seal.
    sums = note.pop(_SEAL, None)
    if sums is not None:
      _verify(note, state, dict(sums))
    return (state, note), None
  # Damage shows as almost any error, some of Orbax's without a class.
  except Exception as error:
    return None, Fault(one_line(error), unread=is_no_answer(error))


def _verify(
    note: dict[str, Any], state: TrainState, sums: dict[str, str]
) -> None:
  """Raises CheckpointError where something is not what was written."""
  if sums.pop(_NOTE, None) != _note_checksum(note):
    raise CheckpointError("the note is not what was written (checksum)")
  _compare(checksums(state), sums)


def _compare(found: dict[str, str], written: dict[str, str]) -> None:
  """Raises CheckpointError with the names of arrays that differ."""
  wrong = [name for name, value in found.items() if written.get(name) != value]
  if wrong:
    raise CheckpointError(
        f"{abbreviate(wrong)} not what was written (checksum)")


def _read_note(folder: epath.Path) -> dict[str, Any]:
  """Returns the note of a step; process 0 reads it, for all.

  Raises:
    CheckpointError: it cannot be read.
  """
  text, fault, cause = "", "", None
  if is_primary():
    try:
      text = (folder / "note" / "metadata").read_text()
      json.loads(text)
    except Exception as error:  # The others wait for an answer.
      fault, cause = f"the note cannot be read: {one_line(error)}", error
  if fault := text_from_primary(fault):
    raise CheckpointError(fault) from cause
  return dict(json.loads(text_from_primary(text)))


def _note_checksum(note: dict[str, Any]) -> str:
  """Returns the CRC-32 of a note as JSON with its keys in order."""
  text = json.dumps(note, sort_keys=True)
  return f"{zlib.crc32(text.encode()):08x}"


def _difference(folder: epath.Path, abstract: TrainState) -> str | None:
  """Returns what a checkpoint's arrays show to be of another model, or None.

  A description that cannot be read is left to `restore`.
  """
  try:
    with ocp.PyTreeCheckpointer() as checkpointer:
      stored = checkpointer.metadata(folder / "state").item_metadata.tree
    found, wanted = _shapes(stored), _shapes(ocp.tree.serialize_tree(
        abstract, keep_empty_nodes=True))
  except Exception:
    return None
  for name in sorted(found.keys() | wanted.keys()):
    if found.get(name) != wanted.get(name):
      return (f"{name} is {found.get(name, 'missing')} there, "
              f"{wanted.get(name, 'missing')} here")
  return None


def _shapes(tree: Any) -> dict[str, str]:
  """Returns "float32 (3, 4)" for every array of a nested structure."""
  flat = ocp.tree.to_flat_dict(tree)
  return {"/".join(map(str, path)): f"{np.dtype(leaf.dtype)} {leaf.shape}"
          for path, leaf in flat.items() if hasattr(leaf, "shape")}


def read_back(
    folder: epath.Path, state: TrainState, note: dict[str, Any]
) -> str | None:
  """Reads a checkpoint that was just written, some arrays at a time.

  Args:
    folder: of the step; complete.
    state: what was written, or its shapes, dtypes and shardings.
    note: as `seal` returned it.

  Returns:
    What is wrong, None if nothing is.
  """
  abstract = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
      state)
  try:
    with orbax_noise.quietly():
      for part in _parts(abstract):
        found = read_arrays(folder / "state", part)
        _compare(checksums(jax.tree.map(
            lambda x: None if x is ocp.PLACEHOLDER else x, found)),
                 note[_SEAL])
    return None
  except Exception as error:  # As in `restore`.
    return one_line(error)


def _parts(abstract: TrainState) -> Iterator[TrainState]:
  """Yields the state several times, with placeholders for most arrays."""
  leaves, structure = jax.tree.flatten(abstract)
  sizes = [leaf.size * leaf.dtype.itemsize for leaf in leaves]
  limit = max(_GROUP_BYTES, sum(sizes) // _GROUPS)
  group = np.cumsum(sizes) // limit
  for number in dict.fromkeys(group.tolist()):
    yield jax.tree.unflatten(structure, [
        leaf if own == number else ocp.PLACEHOLDER
        for leaf, own in zip(leaves, group, strict=True)])


def put_aside(folder: epath.Path) -> str:
  """Moves a step to WORKDIR/damaged; returns what was done with it.

  Only process 0 does anything.
  """
  aside = folder.parent.parent / "damaged" / folder.name
  if is_primary():
    if aside.exists():
      aside.rmtree()
    if in_bucket(str(folder)):  # Which has no folders to rename.
      _copy(folder, aside)
      folder.rmtree()
    else:
      aside.parent.mkdir(exist_ok=True)
      folder.rename(aside)
  return f"moved to {aside}"


def _copy(folder: epath.Path, target: epath.Path) -> None:
  """Copies the objects below a folder of a bucket, within the bucket."""
  for path in folder.iterdir():
    if path.is_dir():
      _copy(path, target / path.name)
    else:
      path.copy(target / path.name)


def verify_params(folder: epath.Path, params: Any, key: str) -> None:
  """Raises CheckpointError unless restored parameters are as written.

  Args:
    folder: of the step.
    params: as restored.
    key: their name in the state, "params" or "ema".
  """
  sums = _read_note(folder).get(_SEAL)
  if sums is not None:
    _compare(checksums({key: params}), sums)


class OneStep(checkpoint_managers.PreservationPolicy):
  """Preserves one step. Orbax's own policy of the best would need metrics with
  every checkpoint, also with those between two evaluations.
  """

  number: int | None = None

  def should_preserve(
      self, checkpoints: Sequence[Any], *, context: Any
  ) -> Sequence[bool]:
    """Returns which of these checkpoints are to stay."""
    del context
    return [info.step == self.number for info in checkpoints]


def remove_unfinished(folder: epath.Path) -> None:
  """Removes saves that a killed run has not completed.

  Orbax's own cleanup_tmp_directories does the same in a thread that outlives
  a manager which saves nothing, and then logs errors of a later time.
  """
  for path in folder.iterdir() if folder.exists() else ():
    if ocp.utils.is_tmp_checkpoint(path):
      path.rmtree()

"""The parameters alone of a checkpoint, verified."""

from typing import Any

from etils import epath
import orbax.checkpoint as ocp

from vit_jax.paths import absolute
from vit_jax.training import orbax_noise, stored_step
from vit_jax.training.read_arrays import read_arrays


def restore_params(path: str, abstract: Any) -> Any:
  """Restores parameters (the average, if kept) of an Orbax checkpoint.

  Args:
    path: a step's folder, .../checkpoints/STEP.
    abstract: parameters with shapes, dtypes and shardings.

  Raises:
    CheckpointError: they are not what was written. Damage also shows as almost
      any other error.
  """
  folder = epath.Path(absolute(path)) / "state"
  with orbax_noise.quietly():
    with ocp.PyTreeCheckpointer() as checkpointer:
      tree = checkpointer.metadata(folder).item_metadata.tree
    key = "ema" if tree.get("ema") else "params"
    params = read_arrays(folder, {key: abstract}, partial=True)[key]
  stored_step.verify_params(folder.parent, params, key)
  return params

"""The parameters alone of a checkpoint, verified."""

from typing import Any

from etils import epath
import jax
import orbax.checkpoint as ocp

from vit_jax.paths import absolute
from vit_jax.training import orbax_noise, stored_step


def restore_params(path: str, abstract: Any) -> Any:
  """Restores parameters (the average, if kept) of an Orbax checkpoint.

  Args:
    path: a step's folder, .../checkpoints/STEP.
    abstract: parameters with shapes, dtypes and shardings.

  Raises:
    CheckpointError: they are not what was written. Damage also shows as almost
      any other error.
  """
  with orbax_noise.quietly(), ocp.PyTreeCheckpointer() as checkpointer:
    folder = epath.Path(absolute(path)) / "state"
    tree = checkpointer.metadata(folder).item_metadata.tree
    key = "ema" if tree.get("ema") else "params"
    item = {key: abstract}
    restored = checkpointer.restore(folder, args=ocp.args.PyTreeRestore(
        item=item, partial_restore=True,
        restore_args=ocp.checkpoint_utils.construct_restore_args(item)))
  params = jax.tree.map(lambda x: x, restored[key])
  stored_step.verify_params(folder.parent, params, key)
  return params

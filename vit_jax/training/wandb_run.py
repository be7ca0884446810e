"""The numbers of a run for Weights & Biases, where config.train.wandb asks.

The package is imported only then, by process 0. WANDB_MODE=offline keeps the
numbers in WORKDIR/wandb until `wandb sync`; other environment variables of the
package hold as well.
"""

from collections.abc import Mapping
import importlib
import json
import re
from typing import Any
import uuid

from etils import epath
from ml_collections import ConfigDict

from vit_jax.errors import UserError
from vit_jax.paths import absolute
from vit_jax.weights.formats.atomic import write_whole

# In the working directory: the id of the run at Weights & Biases.
ID_FILE = "wandb_id.txt"


class WandbRun:
  """One run at Weights & Biases, continued whenever training is resumed."""

  def __init__(self, workdir: str, project: str, config: ConfigDict) -> None:
    """Starts the run, or continues that of the working directory.

    Args:
      workdir: of the run; its name is the run's name.
      project: at Weights & Biases.
      config: resolved; shown with the run.

    Raises:
      UserError: the package is missing, or cannot start a run: nobody is
        logged in, say.
    """
    where = f"config.train.wandb={project!r}"
    wandb = _import(where)
    path = absolute(workdir)
    name = path.rstrip("/").rpartition("/")[2]
    try:
      # What an interrupted run has logged beyond its checkpoint is logged
      # again with the same values; the server keeps the first.
      self._run = wandb.init(
          project=project, id=_run_id(path, name), name=name, resume="allow",
          dir=None if "://" in path else path,
          config=json.loads(config.to_json_best_effort()),
          settings={"console": "off"})
    except wandb.Error as error:
      first = (str(error).strip().splitlines() or [repr(error)])[0]
      raise UserError(
          f"{where}: Weights & Biases refuses to start: {first}; run `wandb "
          "login`, or set WANDB_MODE=offline") from error

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    """Logs the scalars of a step; those of one step may come in parts."""
    self._run.log({name: value for name, value in scalars.items()
                   if isinstance(value, int | float)}, step=step)

  def close(self) -> None:
    """Ends the run, after everything has been sent or stored."""
    self._run.finish()


def _import(where: str) -> Any:
  """Imports the package; UserError, which begins with `where`, without it."""
  try:
    wandb = importlib.import_module("wandb")
    # A folder wandb/ of old runs can be imported, too, but has nothing in it.
    if hasattr(wandb, "init"):
      return wandb
    reason = "only a folder of that name was found"
  except ImportError as error:
    reason = str(error)
  raise UserError(
      f"{where} needs the package of Weights & Biases ({reason}): pip install "
      "wandb, or leave the key out")


def _run_id(workdir: str, name: str) -> str:
  """Returns the id that the working directory keeps, made at the first start.

  Not its path alone: another run may have been there before.
  """
  file = epath.Path(workdir) / ID_FILE
  if file.exists():
    return file.read_text().strip()
  plain = re.sub(r"[^\w-]+", "-", name)[:40]
  made = f"{plain}-{uuid.uuid4().hex[:8]}".strip("-")
  write_whole(file, f"{made}\n".encode())
  return made

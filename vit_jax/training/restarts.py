"""Ends a job that restarts again and again without getting anywhere.

What restarts training by itself (launch/, a cluster) sets LIMIT. The count is
kept in the working directory, so that it outlives the machines.
"""

import json
import os

from absl import logging
from etils import epath
from jax.experimental import multihost_utils
import numpy as np

from vit_jax.devices.distributed import is_primary
from vit_jax.errors import UserError
from vit_jax.paths import absolute
from vit_jax.weights.formats.atomic import write_whole

LIMIT = "VIT_MAX_REPEATS"  # Environment variable: starts at the same step.
FILE = "starts.json"


def check_progress(workdir: str, step: int) -> None:
  """Counts the starts at this step; does nothing where LIMIT is not set.

  Args:
    workdir: of the run.
    step: updates completed at the start, the same in every process.

  Raises:
    UserError: as many starts in a row as LIMIT says began here.
  """
  limit = int(os.environ.get(LIMIT, "0"))
  if limit <= 0:
    return
  # Process 0 reads and writes; the others must come to the same verdict.
  times = int(multihost_utils.broadcast_one_to_all(
      np.int32(_count(workdir, step) if is_primary() else 0)))
  if times > limit:
    raise UserError(
        f"started {limit} times at step {step} without getting further; "
        f"stopped. The log of the last start says why it ended. When that is "
        f"mended, remove {workdir}/{FILE} and run the same command again")


def _count(workdir: str, step: int) -> int:
  """Returns the number of starts in a row at `step`, this one included."""
  path = epath.Path(absolute(workdir)) / FILE
  times = 1
  try:
    before = json.loads(path.read_text())
    if before["step"] == step:
      times = int(before["times"]) + 1
  except FileNotFoundError:
    pass
  except (ValueError, KeyError, TypeError):
    logging.warning("%s cannot be read; the starts are counted anew", path)
  write_whole(path, json.dumps({"step": step, "times": times}).encode())
  return times

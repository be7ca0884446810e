"""The processes of a job: how they find each other and stop together.

A single process needs nothing. On TPU VMs and under Slurm, GKE or Open MPI the
cluster provides the addresses; elsewhere flags do.
"""

from collections.abc import Callable
import glob
import importlib.util
import os
import signal
import threading
from types import FrameType
from typing import Any

from absl import logging
import jax
from jax.experimental import multihost_utils

from vit_jax.errors import UsageError

Handler = Callable[[int, FrameType | None], Any] | int | None

# Set by launchers that JAX knows, where they start several processes.
_CLUSTER_VARIABLES = (
    "MEGASCALE_COORDINATOR_ADDRESS", "JOB_COMPLETION_INDEX",
    "OMPI_MCA_orte_hnp_uri", "JAX_COORDINATOR_ADDRESS")


def in_cluster() -> bool:
  """Returns whether the cluster can provide the processes' addresses."""
  if any(v in os.environ for v in _CLUSTER_VARIABLES):
    return True
  if int(os.environ.get("SLURM_NTASKS", "1")) > 1:
    return True
  on_tpu_vm = glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*")
  return bool(
      on_tpu_vm and importlib.util.find_spec("libtpu")
      and "TPU_SKIP_MDS_QUERY" not in os.environ
      and os.environ.get("JAX_PLATFORMS", "tpu").startswith("tpu"))


def initialize(
    *,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout_seconds: int = 900,
    heartbeat_seconds: int = 100,
) -> None:
  """Joins the processes of a job; does nothing for a single process.

  Call it before anything uses a device.

  Args:
    coordinator: "host:port" of process 0; None asks the cluster.
    num_processes: of the job.
    process_id: of this process, from 0.
    timeout_seconds: how long to wait for the other processes to start
      (installations take different times).
    heartbeat_seconds: when a process has been silent for so long, all stop.

  Raises:
    UsageError: only some of the first three are given.
  """
  given = [x is not None for x in (coordinator, num_processes, process_id)]
  if any(given) and not all(given):
    raise UsageError(
        "--coordinator, --num_processes and --process_id go together; got "
        f"{coordinator!r}, {num_processes}, {process_id}")
  if not any(given) and not in_cluster():
    return
  jax.distributed.initialize(
      coordinator, num_processes, process_id,
      initialization_timeout=timeout_seconds,
      heartbeat_timeout_seconds=heartbeat_seconds)
  logging.info("process %d of %d", jax.process_index(), jax.process_count())


def is_primary() -> bool:
  """Returns whether this process writes metrics, models and reports."""
  return jax.process_index() == 0


def to_host_arrays(tree: Any) -> Any:
  """Returns a sharded tree as whole host arrays, on every process."""
  if jax.process_count() > 1:
    return multihost_utils.process_allgather(tree, tiled=True)
  return jax.device_get(tree)


class StopSignal:
  """Makes SIGTERM and Ctrl-C stop every host at the same step.

  A single process handles the signals itself. With several, JAX's preemption
  service agrees on a step after a SIGTERM to any of them, so every process
  must call `requested` at every step. A second Ctrl-C stops immediately.

  Attributes:
    interrupted: whether it was Ctrl-C that stopped this process.
  """

  def __init__(self) -> None:
    self.interrupted = False
    self._stop = threading.Event()
    self._previous: dict[int, Handler] = {}

  def __enter__(self) -> "StopSignal":
    if threading.current_thread() is threading.main_thread():
      # With several processes, SIGTERM belongs to JAX's preemption service.
      caught = [signal.SIGINT]
      if jax.process_count() == 1:
        caught.append(signal.SIGTERM)
      for number in caught:
        self._previous[number] = signal.signal(number, self._on_signal)
    return self

  def __exit__(self, *_: object) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def _on_signal(self, number: int, _: FrameType | None) -> None:
    if self._stop.is_set() and number == signal.SIGINT:
      raise KeyboardInterrupt
    self._stop.set()
    self.interrupted = number == signal.SIGINT
    if self.interrupted and jax.process_count() > 1:
      os.kill(os.getpid(), signal.SIGTERM)  # For the preemption service.

  def requested(self, step: int) -> bool:
    """Returns whether to save and stop after `step` updates."""
    if jax.process_count() == 1:
      return self._stop.is_set()
    return bool(multihost_utils.reached_preemption_sync_point(step))

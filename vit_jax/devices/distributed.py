"""The processes of a job: how they find each other and stop together.

A single process needs nothing. On TPU VMs and under Slurm, GKE or Open MPI the
cluster provides the addresses; elsewhere flags do.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import glob
import hashlib
import importlib.util
import os
import signal
import threading
from types import FrameType
from typing import Any

from absl import logging
import jax
from jax.experimental import multihost_utils
import numpy as np

from vit_jax.errors import UsageError, UserError

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


def from_primary(value: Any) -> Any:
  """Returns process 0's numbers on every process, which all must ask."""
  if jax.process_count() == 1:
    return value
  return jax.device_get(multihost_utils.broadcast_one_to_all(value))


def text_from_primary(text: str) -> str:
  """Returns process 0's text on every process, which all must ask."""
  if jax.process_count() == 1:
    return text
  data = np.frombuffer(text.encode(), np.uint8)
  size = int(from_primary(np.int32(data.size)))
  padded = np.zeros(size, np.uint8)
  padded[:min(size, data.size)] = data[:size]
  return bytes(np.asarray(from_primary(padded))).decode()


def sum_over_processes(value: np.ndarray) -> np.ndarray:
  """Returns the sum of each process's numbers, uint64; all must ask."""
  if jax.process_count() == 1:
    return value.astype(np.uint64)
  every = multihost_utils.process_allgather(value)
  return np.asarray(every, np.uint64).sum(axis=0)


def any_process(flag: bool) -> bool:
  """Tells every process whether the flag is set on one; all must ask."""
  if jax.process_count() == 1:
    return flag
  return bool(np.any(multihost_utils.process_allgather(np.bool_(flag))))


@contextlib.contextmanager
def together() -> Iterator[None]:
  """Ends every process where one meets a UserError within.

  Otherwise the others would wait for it. Nothing within may be a message
  between the processes, and all of them must come here.
  """
  error = None
  try:
    yield
  except UserError as caught:
    error = caught
  passing = any_process(error is not None and error.passing)
  failed = any_process(error is not None)
  if error is not None:
    raise error
  if failed:
    other = UserError(
        "another process of this job cannot go on; its own log says why")
    other.passing = passing
    raise other


def refuse_differences(facts: Mapping[str, str]) -> None:
  """Raises UsageError where the processes of a job have different facts.

  Args:
    facts: by name; every process must call this.
  """
  if jax.process_count() == 1:
    return
  names = sorted(facts)
  if not _all_equal(_fixed("\n".join(names), hashed=True)):
    raise UsageError(
        "the processes of this job have different config keys; start all of "
        "them with the same command and versions")
  hashes = np.stack([_fixed(facts[name], hashed=True) for name in names])
  every = multihost_utils.process_allgather(hashes)
  wrong = [i for i in range(len(names))
           if (every[:, i] != every[:1, i]).any()][:4]
  if not wrong:
    return
  texts = multihost_utils.process_allgather(
      np.stack([_fixed(facts[names[i]]) for i in wrong]))
  said = []
  for place, i in enumerate(wrong):
    other = int(np.argmax((every[:, i] != every[:1, i]).any(axis=-1)))
    first, second = (
        bytes(texts[k, place]).rstrip(b"\0").decode(errors="replace")
        for k in (0, other))
    said.append(f"{names[i]} is {first} on process 0, {second} on {other}")
  raise UsageError(
      f"the processes of this job differ: {'; '.join(said)}; start all of them "
      "with the same command, data and versions")


def _fixed(text: str, *, hashed: bool = False) -> np.ndarray:
  """Returns a text, or its hash, as bytes of a fixed number."""
  data = text.encode()
  data = hashlib.sha256(data).digest() if hashed else data[:120].ljust(
      120, b"\0")
  return np.frombuffer(data, np.uint8)


def _all_equal(value: np.ndarray) -> bool:
  """Returns whether all processes have the same array."""
  every = multihost_utils.process_allgather(value)
  return bool((every == every[:1]).all())


class StopSignal:
  """Makes SIGTERM, SIGHUP and Ctrl-C stop every host at the same step.

  A single process handles the signals itself. With several, JAX's preemption
  service agrees on a step after a SIGTERM to any of them, so every process
  must call `requested` at every step. A second Ctrl-C stops immediately.
  SIGHUP, sent when a terminal closes, counts as SIGTERM, unless it is ignored
  as under nohup.

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
      if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        caught.append(signal.SIGHUP)
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
    if number != signal.SIGTERM and jax.process_count() > 1:
      os.kill(os.getpid(), signal.SIGTERM)  # For the preemption service.

  def here(self) -> bool:
    """Tells whether a signal has come to the only process of a job.

    Always False with several processes, which have to agree on a step.
    """
    return jax.process_count() == 1 and self._stop.is_set()

  def requested(self, step: int) -> bool:
    """Returns whether to save and stop after `step` updates."""
    if jax.process_count() == 1:
      return self._stop.is_set()
    return bool(multihost_utils.reached_preemption_sync_point(step))

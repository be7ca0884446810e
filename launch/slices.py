"""What run.py and watch.py need of both backends and of the bucket."""

import pathlib
import time
import types

from launch import (
  compute_engine,
  data,
  queued_resources,
  source,
  watch_vm,
)
from launch import job as job_lib
from launch.gcloud import (
  Command,
  FatalError,
  LaunchError,
  UsageError,
  call,
  require_ok,
)


def backend(job: job_lib.Job) -> types.ModuleType:
  """Returns the module of the job's backend."""
  return (compute_engine if job.backend == "compute-engine"
          else queued_resources)


def send(job: job_lib.Job, folder: pathlib.Path) -> None:
  """Copies what source.stage wrote into the job's folder in the bucket."""
  require_ok(call(source.send_command(job, folder)))


def create(job: job_lib.Job) -> None:
  """Requests the slices once; what survived a preemption may exist already.

  Raises:
    QuotaError: the quota does not allow it.
    FatalError: the request is invalid or not permitted.
    LaunchError: gcloud could not reach Google Cloud.
  """
  startup_script = str(source.ROOT / source.STARTUP)
  for command in backend(job).create_commands(job, startup_script):
    result = call(command)
    if result.kind in ("missing", "other"):
      words = " ".join(result.error.split())
      raise FatalError(f"{job.describe()}: refused: {words}")
    require_ok(result, allow=("exists",))


def delete(job: job_lib.Job, *, final: bool = True) -> None:
  """Deletes the slices; it is not an error if they do not exist any more.

  Args:
    job: whose slices.
    final: also delete what a recreation would reuse.
  """
  for command in backend(job).delete_commands(job, final=final):
    require_ok(call(command), allow=("missing",))


def delete_all(job: job_lib.Job) -> None:
  """Deletes the slices, and first the machine that would recreate them."""
  if job.watch_vm:
    watch_vm.delete(job)
  delete(job)


def remove(job: job_lib.Job, interval: float) -> None:
  """Deletes all as delete_all does, and waits until nothing is left.

  Args:
    job: whose slices; what it sends is overwritten next.
    interval: seconds between two looks.

  Raises:
    LaunchError: they are still there after 40 looks.
  """
  delete_all(job)
  for _ in range(40):
    if state(job)[0] == "MISSING":
      return
    time.sleep(interval)
  raise LaunchError(f"{job.name} is still being deleted; run the same command "
                    "again in some minutes")


def state(job: job_lib.Job) -> tuple[str, str]:
  """Returns (state, detail); the states are in queued_resources.state."""
  return backend(job).state(job)


def list_command(job: job_lib.Job) -> Command:
  """Returns what lists the job's folder, where DONE and FAILED appear."""
  return ["gcloud", "storage", "ls", f"{job.folder}/"]


def markers(job: job_lib.Job) -> set[str]:
  """Returns which of DONE and FAILED the workers have written."""
  result = require_ok(call(list_command(job), quiet=True), allow=("missing",))
  names = {line.rpartition("/")[2] for line in result.out.split()}
  return names & {"DONE", "FAILED"}


def remove_marker(job: job_lib.Job, name: str) -> None:
  """Deletes DONE or FAILED from the job's folder."""
  require_ok(call(["gcloud", "storage", "rm", f"{job.folder}/{name}"]),
             allow=("missing",))


def read_failure(job: job_lib.Job) -> str:
  """Returns the report of the worker that gave up."""
  return call(["gcloud", "storage", "cat", f"{job.folder}/FAILED"],
              quiet=True).out.strip()


def finished_workers(job: job_lib.Job) -> int:
  """Counts the workers that have sent their last log after success."""
  result = call(["gcloud", "storage", "ls", f"{job.folder}/logs/*/done"],
                quiet=True)
  return len(result.out.split())


def read_job(folder: str) -> job_lib.Job | None:
  """Reads gs://BUCKET/NAME/job/job.json; None if there is none.

  Raises:
    UsageError: it is not a job that could be launched, or another folder's.
  """
  command = ["gcloud", "storage", "cat", f"{folder}/job/job.json"]
  result = require_ok(call(command, quiet=True), allow=("missing",))
  if result.kind == "missing":
    return None
  job = job_lib.from_json(result.out)
  if job.folder != folder:
    raise UsageError(f"{folder}/job/job.json is that of {job.folder}; a job "
                     "cannot be moved: start it with --bucket and --name of "
                     "its own")
  data.check(job)
  return job

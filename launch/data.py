"""Where a job's data lie, and how they come to its machines.

--data names a folder in a bucket. On every machine it appears as MOUNT, in one
of the WAYS, and TFDS_DATA_DIR says so to the trainer:

  disk   copied to a disk of the machine, created with it (Compute Engine)
  ram    copied into memory
  mount  not copied: gcsfuse reads the bucket, and keeps in memory what it read

Copies are checked by the number and the bytes of the files, resume where they
broke off, and are not repeated while the machine keeps them.
"""

import dataclasses
import math
import re

from launch import job as job_lib
from launch.gcloud import Command, UsageError, call, require_ok

MOUNT = "/mnt/vit-data"
NONE = "none"  # --data=none: the config brings its own.
DEVICE = "vit-data"  # Name of the data disk.
_TRAINER_GB = 32  # Memory of a machine that the data leave to the trainer.
_GB = 10**9
# Configs that train on the digits, which come with the package.
_OWN_DATA = re.compile(r"--config=(\S*/)?quickstart\.py\b|"
                       r"--config=[^:]*:(.*,)?digits(,|$)|"
                       r"--config\.data\.source=digits$")
_IN_BUCKET = re.compile(r"(--config\.data\.data_dir|TFDS_DATA_DIR)=gs://")


def check(job: job_lib.Job) -> None:
  """Checks that the machines will have data.

  Raises:
    UsageError: none are named, or they cannot be placed in the way asked for.
  """
  if not job.data:
    if any(_OWN_DATA.match(arg) for arg in job.args) or reads_bucket(job):
      return
    raise UsageError(
        "the machines have no data: add --data=gs://BUCKET/FOLDER, the folder "
        "that `python -m vit_jax prepare NAME --data_dir=DIR` has filled, "
        "sent with `gcloud storage cp DIR gs://BUCKET/FOLDER --recursive`; "
        "or --data=none for a config that brings its own")
  if job.data_on == "disk" and job.backend == "queued-resources":
    raise UsageError(
        "--data-on=disk: the Cloud TPU API attaches disks to several machines "
        "for reading only, so they cannot be filled; use --data-on=ram or "
        "mount, or --backend=compute-engine")
  if job.data == NONE and (job.data_on or job.data_gb):
    raise UsageError("--data-on and --data-gb need --data=gs://...")
  if job.data_on == "ram":
    _check_memory(job)


def reads_bucket(job: job_lib.Job) -> bool:
  """Returns whether the trainer itself reads a bucket, picture by picture."""
  return any(_IN_BUCKET.match(text) for text in (*job.args, *job.env))


def has_data(job: job_lib.Job) -> bool:
  """Returns whether there is a folder to bring to the machines."""
  return job.data.startswith("gs://")


def host_gb(job: job_lib.Job) -> int:
  """Returns the memory of each machine in GB."""
  one = job.slice
  return one.generation.host_gb * one.chips_per_host // 4


def _check_memory(job: job_lib.Job) -> None:
  room = host_gb(job) - _TRAINER_GB
  if job.data_bytes > room * _GB:
    raise UsageError(
        f"--data-on=ram: {job.data} has {job.data_bytes / _GB:.0f} GB, but a "
        f"machine of {job.slice.type} has {host_gb(job)} GB of memory, of "
        f"which the trainer needs {_TRAINER_GB}; use --data-on=mount")


def way(job: job_lib.Job) -> str:
  """Returns how the data come to the machines: one of WAYS."""
  if job.data_on:
    return job.data_on
  if job.backend == "compute-engine":
    return "disk"
  fits = job.data_bytes <= (host_gb(job) - _TRAINER_GB) * _GB
  return "ram" if fits else "mount"


def disk_gb(job: job_lib.Job) -> int:
  """Returns the size of each machine's data disk in GB."""
  # A tenth for the file system; 200 where nothing was measured (--dry-run).
  measured = math.ceil(job.data_bytes * 1.1 / _GB) + 10
  return job.data_gb or (measured if job.data_bytes else 200)


def disk_flags(job: job_lib.Job, kind: str) -> list[str]:
  """Returns the flags of an instance template that create the data disk.

  Args:
    job: whose data.
    kind: type of the disk, "" for Compute Engine's default.
  """
  if not has_data(job) or way(job) != "disk":
    return []
  words = [f"device-name={DEVICE}", f"size={disk_gb(job)}GB",
           "auto-delete=yes", *([f"type={kind}"] if kind else [])]
  return ["--create-disk=" + ",".join(words)]


def settings(job: job_lib.Job) -> list[str]:
  """Returns what startup.sh needs to know, one NAME=VALUE each."""
  if not has_data(job):
    return []
  return [f"VIT_DATA={job.data}", f"VIT_DATA_ON={way(job)}",
          f"VIT_DATA_FILES={job.data_files}",
          f"VIT_DATA_BYTES={job.data_bytes}"]


def list_command(job: job_lib.Job) -> Command:
  """Returns what lists the data with their sizes."""
  return ["gcloud", "storage", "ls", f"{job.data}/**", "--long"]


def measured(job: job_lib.Job) -> job_lib.Job:
  """Returns the job with the number and the bytes of its data's files.

  One listing by the launcher, so that the machines need none.

  Raises:
    UsageError: the folder is empty, or does not fit where it should lie.
    LaunchError: the bucket cannot be listed.
  """
  if not has_data(job):
    return job
  result = require_ok(call(list_command(job)), allow=("missing",))
  sizes = [int(size) for size, name in re.findall(
      r"^ *(\d+) +\S+ +(gs://.*)$", result.out, re.MULTILINE)
           if not name.endswith(("/", "/:"))]
  if not sizes:
    raise UsageError(f"--data={job.data}: no files there; send them with "
                     f"`gcloud storage cp DIR {job.data} --recursive`")
  job = dataclasses.replace(
      job, data_files=len(sizes), data_bytes=sum(sizes))
  check(job)
  if way(job) == "disk" and job.data_bytes > disk_gb(job) * _GB:
    raise UsageError(f"--data-gb={job.data_gb}: {job.data} has "
                     f"{job.data_bytes / _GB:.0f} GB")
  return job


def describe(job: job_lib.Job) -> str:
  """Returns one line for a person."""
  if not has_data(job):
    where = "from the bucket, read by the trainer" if reads_bucket(
        job) else "the config's own"
    return f"data: {where}"
  size = (f"{job.data_files:,} files, {job.data_bytes / _GB:.1f} GB"
          if job.data_files else "measured at the start")
  place = {"disk": f"a disk of {disk_gb(job)} GB on each machine",
           "ram": "memory of each machine", "mount": "gcsfuse"}[way(job)]
  return f"data: {job.data} ({size}) as {MOUNT}, by {place}"


def slow_note(job: job_lib.Job) -> str:
  """Returns a warning about direct reading, or ""."""
  if not reads_bucket(job):
    return ""
  return ("the trainer reads each picture from the bucket by a request of its "
          "own, some hundred a second and machine; --data=gs://... copies "
          "them first (launch/README.md, Data)")

"""A job: everything that is needed to create its slices, again and again."""

import dataclasses
import json
import re
from typing import Any

from launch import accelerators, patterns
from launch.gcloud import UsageError

TIERS = ("spot", "on-demand", "reserved", "guaranteed")
BACKENDS = ("queued-resources", "compute-engine")
WAYS = ("disk", "ram", "mount")  # How data come to the machines: data.py.


@dataclasses.dataclass(frozen=True)
class Job:
  """One training job on one or more slices.

  Attributes:
    name: of the job, its slices and its folder in the bucket.
    accelerator: accelerator type ("v5litepod-16").
    zone: Google Cloud zone.
    bucket: "gs://BUCKET" or "gs://BUCKET/FOLDER".
    args: arguments of `python -m vit_jax.main` without --workdir.
    project: Google Cloud project; "" = gcloud's default.
    backend: one of BACKENDS.
    tier: one of TIERS.
    slices: number of slices, joined over the data centre's network.
    service_account: e-mail; "" = the default service account.
    valid_until: how long to wait for capacity ("6h" or a time); "" = no limit.
    reservation: name; needed for the reserved tier on Compute Engine.
    network, subnetwork: "" = default.
    internal_ips: no external addresses (needs Cloud NAT for installing).
    runtime: software version instead of the table's (queued resources).
    image_family: instead of the table's (Compute Engine).
    disk: boot disk size on Compute Engine.
    env: environment variables of the trainer.
    python: version for the virtual environment.
    max_restarts: starts of the trainer per day and VM, after which the job
      counts as failed.
    max_hours: of the first machine, over all slices one after the other; 0 =
      no limit.
    self_delete: the slice deletes itself when the job has ended.
    watch_vm: a small machine recreates the slices; none of yours is needed.
    data: folder of the training data, gs://BUCKET/FOLDER; "none" for a config
      that brings its own; "" where the trainer reads a bucket itself.
    data_on: one of WAYS; "" = what suits the machine (launch/data.py).
    data_gb: size of the data disk in GB; 0 = by the size of the data.
    data_files, data_bytes: the folder's, counted when the job was sent; 0 =
      not counted.
  """

  name: str
  accelerator: str
  zone: str
  bucket: str
  args: tuple[str, ...]
  project: str = ""
  backend: str = "queued-resources"
  tier: str = "spot"
  slices: int = 1
  service_account: str = ""
  valid_until: str = ""
  reservation: str = ""
  network: str = ""
  subnetwork: str = ""
  internal_ips: bool = False
  runtime: str = ""
  image_family: str = ""
  disk: str = "200GB"
  env: tuple[str, ...] = ()
  python: str = "3.12"
  max_restarts: int = 10
  max_hours: int = 168
  self_delete: bool = True
  watch_vm: bool = False
  data: str = ""
  data_on: str = ""
  data_gb: int = 0
  data_files: int = 0
  data_bytes: int = 0

  @property
  def folder(self) -> str:
    """The job's folder in the bucket, also the trainer's working directory."""
    return f"{self.bucket}/{self.name}"

  @property
  def slice(self) -> accelerators.Slice:
    """The slice that `accelerator` names."""
    return accelerators.parse(self.accelerator)

  @property
  def region(self) -> str:
    """The zone's region."""
    return self.zone.rpartition("-")[0]

  @property
  def workers(self) -> int:
    """Number of virtual machines in all slices."""
    return self.slice.hosts * self.slices

  def describe(self) -> str:
    """Returns one line for a person."""
    s = self.slice
    many = f"{self.slices} x " if self.slices > 1 else ""
    hosts = "1 host" if s.hosts == 1 else f"{s.hosts} hosts"
    chips = "1 chip" if s.chips_per_host == 1 else f"{s.chips_per_host} chips"
    return (f"{self.name}: {many}{s.type} ({hosts} x {chips}, {s.topology}), "
            f"{self.tier}, {self.zone}, {self.backend.replace('-', ' ')}")


def default_name(args: tuple[str, ...]) -> str:
  """Names a job after its config: configs/vit.py:l16,cifar10 -> vit-l16-...

  The same command gives the same name, so running it again resumes the job.
  """
  config = next((a.partition("=")[2] for a in args
                 if a.startswith("--config=")), "")
  stem, _, rest = config.partition(":")
  stem = stem.rpartition("/")[2].removesuffix(".py")
  words = re.sub(r"[^a-z0-9]+", "-", f"{stem}-{rest}".lower()).strip("-")
  return words[:40].strip("-")


def default_backend(accelerator: str) -> str:
  """Returns queued resources, except for what only Compute Engine has (7x)."""
  has_api = accelerators.parse(accelerator).generation.runtime
  return BACKENDS[0 if has_api else 1]


def validate_names(job: Job) -> None:
  """Checks what every way of launching needs: names and arguments.

  Raises:
    UsageError: a name or argument is not of the expected form.
  """
  patterns.check_fields(job)
  if not job.bucket:
    raise UsageError("--bucket=: expected gs://BUCKET or gs://BUCKET/FOLDER")
  _check_args(job)


def validate(job: Job) -> Job:
  """Returns the job if its backend can serve it.

  Raises:
    UsageError: a field is not of the expected form, or the backend does not
      serve it.
  """
  validate_names(job)
  generation = job.slice.generation
  if not job.zone:
    raise UsageError("--zone=: expected a zone such as us-west4-a")
  if job.backend == "queued-resources" and not generation.runtime:
    raise UsageError(f"--backend={job.backend}: the Cloud TPU API does not "
                     f"serve {generation.name}; use compute-engine or GKE")
  if job.backend == "compute-engine":
    _check_compute_engine(job)
  return job


def _check_args(job: Job) -> None:
  for arg in job.args:
    if arg == "--workdir" or arg.startswith("--workdir="):
      raise UsageError(f"{arg}: leave it out; the working directory is "
                       f"{job.folder} (from --bucket and --name)")
  if not any(a == "--config" or a.startswith("--config=") for a in job.args):
    raise UsageError("expected the trainer's arguments after `--`, with a "
                     "config: -- --config=configs/vit.py:b16,cifar10")


def _check_compute_engine(job: Job) -> None:
  generation = job.slice.generation
  if not generation.machine:
    raise UsageError(f"--backend=compute-engine: Compute Engine has no "
                     f"{generation.name}; use queued-resources")
  if not job.project:
    raise UsageError("--backend=compute-engine needs --project=PROJECT (the "
                     "group names its workload policy by project)")
  if job.slices > 1:
    raise UsageError(f"--slices={job.slices}: Compute Engine groups are one "
                     "slice each; for several use queued-resources (v5p, v6e)"
                     " or launch/gke")
  if job.tier == "guaranteed" or job.valid_until:
    raise UsageError("--tier=guaranteed and --valid-until are for "
                     "queued-resources")
  if job.tier == "reserved" and not job.reservation:
    raise UsageError("--tier=reserved on Compute Engine needs "
                     "--reservation=NAME")


def to_json(job: Job) -> str:
  """Returns the job as it is stored in the bucket, for any machine to read."""
  fields = {f.name: getattr(job, f.name) for f in dataclasses.fields(job)
            if getattr(job, f.name) != f.default}
  return json.dumps(fields, sort_keys=True)


def from_json(text: str) -> Job:
  """Reads what to_json wrote, and checks it as if it were a command line.

  Raises:
    UsageError: the text is not a job, or not one that could be launched.
  """
  try:
    read = json.loads(text)
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in read.items()}
    job = Job(**fields)
  except (TypeError, ValueError, AttributeError, RecursionError) as error:
    raise UsageError(f"job.json cannot be read: {error}; was it written by "
                     "another version of launch/?") from error
  return validate(job)

"""A small machine that watches a job, so that no laptop has to.

It runs launch/watch.py on the code in the job's folder, and deletes itself
when the job has ended (launch/watch_vm.sh).
"""

from launch import source
from launch.gcloud import Command, call, require_ok
from launch.job import Job

SCRIPT = "launch/watch_vm.sh"


def name(job: Job) -> str:
  """Returns the name of the machine."""
  return f"{job.name}-watch"


def _place(job: Job) -> list[str]:
  project = [f"--project={job.project}"] if job.project else []
  return [f"--zone={job.zone}", *project]


def create_command(job: Job, script: str = SCRIPT) -> Command:
  """Returns what creates the machine."""
  command = ["gcloud", "compute", "instances", "create", name(job),
             *_place(job), "--machine-type=e2-micro",
             "--image-family=debian-12", "--image-project=debian-cloud",
             "--scopes=cloud-platform"]
  for flag, value in (("service-account", job.service_account),
                      ("network", job.network), ("subnet", job.subnetwork)):
    if value:
      command += [f"--{flag}={value}"]
  if job.internal_ips:
    command += ["--no-address"]
  return [*command, f"--labels=vit-job={job.name}",
          f"--metadata=vit-job={job.folder}",
          f"--metadata-from-file=startup-script={script}"]


def create(job: Job) -> None:
  """Creates the machine, unless it exists.

  Raises:
    LaunchError: Google Cloud refused it.
  """
  command = create_command(job, str(source.ROOT / SCRIPT))
  require_ok(call(command), allow=("exists",))


def delete(job: Job) -> None:
  """Deletes the machine; it is not an error if there is none."""
  require_ok(call(["gcloud", "compute", "instances", "delete", name(job),
                   *_place(job), "--quiet"]), allow=("missing",))

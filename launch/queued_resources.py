"""The first backend: queued resources of the Cloud TPU API (v2 to v6e)."""

from launch.gcloud import Command, call, require_ok
from launch.job import Job

# State of the API -> state for the watcher. SUSPENDED is final: the slice was
# taken away, and the same request never gets one again.
_STATES = {"ACCEPTED": "WAITING", "WAITING_FOR_RESOURCES": "WAITING",
           "CREATING": "PROVISIONING", "PROVISIONING": "PROVISIONING",
           "ACTIVE": "ACTIVE", "SUSPENDING": "STOPPING",
           "DELETING": "STOPPING", "SUSPENDED": "PREEMPTED",
           "FAILED": "FAILED"}


def _place(job: Job) -> list[str]:
  project = [f"--project={job.project}"] if job.project else []
  return [f"--zone={job.zone}", *project]


def _command(verb: str, job: Job) -> Command:
  return ["gcloud", "compute", "tpus", "queued-resources", verb, job.name,
          *_place(job)]


def create_commands(job: Job, startup_script: str) -> list[Command]:
  """Returns what requests the slices."""
  command = _command("create", job)
  if job.slices > 1:
    command += [f"--node-count={job.slices}", f"--node-prefix={job.name}"]
  else:
    command += [f"--node-id={job.name}"]
  command += [
      f"--accelerator-type={job.slice.type}",
      f"--runtime-version={job.runtime or job.slice.generation.runtime}"]
  # Without a flag, the API gives on-demand capacity.
  command += {"spot": ["--spot"], "reserved": ["--reserved"],
              "guaranteed": ["--guaranteed"], "on-demand": []}[job.tier]
  if job.valid_until:
    is_time = job.valid_until[:4].isdigit() and "-" in job.valid_until
    kind = "time" if is_time else "duration"
    command += [f"--valid-until-{kind}={job.valid_until}"]
  if job.service_account:
    command += [f"--service-account={job.service_account}"]
  for flag, value in (("network", job.network),
                      ("subnetwork", job.subnetwork)):
    if value:
      command += [f"--{flag}={value}"]
  if job.internal_ips:
    command += ["--internal-ips"]
  command += ["--scopes=cloud-platform", f"--labels=vit-job={job.name}",
              f"--metadata=vit-job={job.folder}",
              f"--metadata-from-file=startup-script={startup_script}"]
  return [command]


def state_command(job: Job) -> Command:
  """Returns what prints the state, as one word."""
  return [*_command("describe", job), "--format=value(state.state)"]


def delete_commands(job: Job, *, final: bool) -> list[Command]:
  """Returns what deletes the request and, with --force, its nodes."""
  del final  # Nothing else is left behind.
  return [[*_command("delete", job), "--force", "--quiet", "--async"]]


def state(job: Job) -> tuple[str, str]:
  """Returns (state, detail) from one or two calls.

  The state is MISSING, WAITING, PROVISIONING, ACTIVE, STOPPING, PREEMPTED,
  FAILED or UNKNOWN; the detail is the API's own word, and for FAILED also the
  reason that it gives.

  Raises:
    LaunchError: gcloud failed for another reason than "not found".
  """
  result = require_ok(call(state_command(job), quiet=True), allow=("missing",))
  if result.kind == "missing":
    return "MISSING", ""
  word = result.out.strip()
  name = _STATES.get(word, "UNKNOWN")
  if name != "FAILED":
    return name, word
  more = call([*_command("describe", job), "--format=yaml(state)"], quiet=True)
  return name, " ".join(f"{word} {more.out}".split())


def workers(job: Job) -> list[str]:
  """Returns the workers' numbers, as ssh_command takes them (one slice)."""
  return [str(number) for number in range(job.slice.hosts)]


def ssh_command(job: Job, worker: str, command: str) -> Command:
  """Returns what runs a command on one worker."""
  return ["gcloud", "compute", "tpus", "tpu-vm", "ssh", job.name,
          *_place(job), f"--worker={worker}", f"--command={command}"]


def copy_command(job: Job, worker: str, path: str, target: str) -> Command:
  """Returns what copies a local file to one worker."""
  return ["gcloud", "compute", "tpus", "tpu-vm", "scp", path,
          f"{job.name}:{target}", *_place(job), f"--worker={worker}"]

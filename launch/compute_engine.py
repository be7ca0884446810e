"""The second backend: Compute Engine (v5p, v6e, 7x).

A slice is a managed instance group, created from an instance template; a
workload policy names the topology, so that its machines are wired as one slice.
The group must not repair single machines, which would break the slice.
"""

from launch import accelerators, data
from launch.gcloud import Command, QuotaError, call, require_ok
from launch.job import Job

_LOST = {"STOPPED", "TERMINATED", "SUSPENDED"}
_LEAVING = {"STOPPING", "SUSPENDING", "DEPROVISIONING"}


def _group(verb: str, job: Job) -> Command:
  return ["gcloud", "compute", "instance-groups", "managed", verb, job.name,
          f"--zone={job.zone}", f"--project={job.project}"]


def _tier(job: Job) -> list[str]:
  if job.tier == "spot":
    # STOP, not DELETE: a group cannot replace one machine of a slice, and the
    # watcher recognises the loss by the stopped machine.
    return ["--provisioning-model=SPOT", "--instance-termination-action=STOP"]
  if job.tier == "reserved":
    return ["--provisioning-model=RESERVATION_BOUND",
            "--instance-termination-action=DELETE",
            "--reservation-affinity=specific",
            f"--reservation={job.reservation}"]
  return ["--provisioning-model=STANDARD"]


def _template(job: Job, startup_script: str) -> Command:
  generation = job.slice.generation
  command = ["gcloud", "compute", "instance-templates", "create", job.name,
             f"--project={job.project}", f"--machine-type={job.slice.machine}",
             f"--image-family={job.image_family or generation.image}",
             f"--image-project={accelerators.IMAGE_PROJECT}",
             f"--boot-disk-size={job.disk}"]
  if generation.disk:
    command += [f"--boot-disk-type={generation.disk}"]
  command += data.disk_flags(job, generation.disk)
  command += [*_tier(job), "--maintenance-policy=TERMINATE"]
  network = {"network": job.network, "subnet": job.subnetwork,
             "nic-type": generation.nic}
  words = [f"{k}={v}" for k, v in network.items() if v]
  words += ["no-address"] if job.internal_ips else []
  if words:
    command += ["--network-interface=" + ",".join(words)]
  if job.service_account:
    command += [f"--service-account={job.service_account}"]
  return [*command, "--scopes=cloud-platform", f"--labels=vit-job={job.name}",
          f"--metadata=vit-job={job.folder}",
          f"--metadata-from-file=startup-script={startup_script}"]


def create_commands(job: Job, startup_script: str) -> list[Command]:
  """Returns what creates template, workload policy (several hosts) and group.

  The first two survive a preemption, so "already exists" is not an error.
  """
  group = [*_group("create", job), f"--size={job.slice.hosts}",
           f"--template={job.name}",
           "--default-action-on-vm-failure=do-nothing"]
  commands = [_template(job, startup_script)]
  if job.slice.hosts > 1:
    commands += [[
        "gcloud", "compute", "resource-policies", "create", "workload-policy",
        job.name, f"--region={job.region}", f"--project={job.project}",
        "--type=HIGH_THROUGHPUT",
        f"--accelerator-topology={job.slice.topology}"]]
    group += [f"--workload-policy=projects/{job.project}/regions/"
              f"{job.region}/resourcePolicies/{job.name}"]
  return [*commands, group]


def state_command(job: Job) -> Command:
  """Returns what lists one machine per line: its status, and its last error."""
  return [*_group("list-instances", job),
          "--format=value(instanceStatus,lastAttempt.errors.errors[0].code)"]


def delete_commands(job: Job, *, final: bool) -> list[Command]:
  """Returns what deletes the group, and with `final` template and policy."""
  commands = [[*_group("delete", job), "--quiet"]]
  if final:
    commands += [["gcloud", "compute", "instance-templates", "delete",
                  job.name, f"--project={job.project}", "--quiet"]]
    if job.slice.hosts > 1:
      commands += [["gcloud", "compute", "resource-policies", "delete",
                    job.name, f"--region={job.region}",
                    f"--project={job.project}", "--quiet"]]
  return commands


def read_state(listing: str, hosts: int) -> tuple[str, str]:
  """Turns the lines of state_command into (state, detail).

  Raises:
    QuotaError: the quota does not allow the group to grow.
  """
  rows = [line.split("\t") for line in listing.splitlines() if line.strip()]
  words = [row[0] for row in rows]
  errors = [row[1] for row in rows if len(row) > 1 and row[1]]
  counts = ", ".join(f"{words.count(w)} {w or 'not yet there'}"
                     for w in sorted(set(words)))
  if any(w in _LOST for w in words):
    return "PREEMPTED", counts
  if any(w in _LEAVING for w in words):
    return "STOPPING", counts
  if len(words) == hosts and set(words) == {"RUNNING"}:
    return "ACTIVE", counts
  if any("QUOTA" in e for e in errors):
    raise QuotaError(f"the group cannot grow: {errors[0]}")
  if any(words):
    return "PROVISIONING", counts
  return "WAITING", ", ".join(sorted(set(errors)))


def state(job: Job) -> tuple[str, str]:
  """Returns (state, detail), as queued_resources.state does."""
  result = require_ok(call(state_command(job), quiet=True), allow=("missing",))
  if result.kind == "missing":
    return "MISSING", ""
  return read_state(result.out, job.slice.hosts)


def workers(job: Job) -> list[str]:
  """Returns the machines' names, as ssh_command takes them."""
  command = [*_group("list-instances", job), "--format=value(name)"]
  result = require_ok(call(command, quiet=True))
  return result.out.split()


def ssh_command(job: Job, worker: str, command: str) -> Command:
  """Returns what runs a command on one machine."""
  return ["gcloud", "compute", "ssh", worker, f"--zone={job.zone}",
          f"--project={job.project}", f"--command={command}"]


def copy_command(job: Job, worker: str, path: str, target: str) -> Command:
  """Returns what copies a local file to one machine."""
  return ["gcloud", "compute", "scp", path, f"{worker}:{target}",
          f"--zone={job.zone}", f"--project={job.project}"]

#!/usr/bin/env python3
"""Trains on Cloud TPU with one command from a laptop.

  launch/run.py --accelerator=v5litepod-16 --zone=us-west4-a \\
      --bucket=gs://my-bucket --data=gs://my-bucket/data \\
      -- --config=configs/vit.py:l16,imagenet2012

Packs the checkout, sends it to gs://BUCKET/NAME/job/, requests the slices (spot
by default), and watches: slices that are taken away are requested again, and
the job resumes. Running the same command again continues the job. What follows
`--` goes to `python -m vit_jax.main`, with --workdir=gs://BUCKET/NAME added.
--dry-run prints every command and runs none.
"""

import argparse
from collections.abc import Sequence
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from launch import data, slices, source, watch_vm
from launch import job as job_lib
from launch import watch as watch_lib
from launch.command import Parser, one_line
from launch.gcloud import UsageError, log, show
from launch.watcher import hint, watch


def _parser() -> Parser:
  parser = Parser(
      "launch/run.py", __doc__,
      usage="%(prog)s --accelerator=TYPE --zone=ZONE --bucket=gs://BUCKET "
            "--data=gs://BUCKET/FOLDER [flags] -- --config=FILE "
            "[trainer's flags]")
  add = parser.add_argument
  add("--accelerator", required=True, help="v2-8 ... v3-32, v4-128, "
      "v5litepod-16, v5p-128, v6e-64, tpu7x-16 (table: launch/README.md)")
  add("--zone", required=True, help="for example us-west4-a")
  add("--bucket", required=True, help="gs://BUCKET or gs://BUCKET/FOLDER, in "
      "the zone's region")
  add("--data", default="", metavar="gs://BUCKET/FOLDER|none",
      help="the prepared data, in the zone's region; every machine gets them "
      "as /mnt/vit-data. none: the config brings its own")
  add("--data-on", default="", choices=("", *job_lib.WAYS),
      metavar="|".join(job_lib.WAYS), help="default: a disk on Compute "
      "Engine, elsewhere memory if they fit, else gcsfuse")
  add("--data-gb", type=int, default=0, metavar="N",
      help="size of the data disk (default: by the size of the data)")
  add("--project", default="", help="default: gcloud's")
  add("--name", default="", help="default: from the config")
  add("--tier", default="spot", choices=job_lib.TIERS)
  add("--backend", default="", choices=("", *job_lib.BACKENDS),
      metavar="queued-resources|compute-engine",
      help="default: compute-engine for 7x, else queued-resources")
  add("--slices", type=int, default=1, metavar="N", help="several slices, "
      "joined over the data centre's network")
  add("--service-account", default="", metavar="EMAIL")
  add("--valid-until", default="", metavar="6h|TIME",
      help="give up waiting for capacity (queued resources)")
  add("--reservation", default="", metavar="NAME",
      help="for --tier=reserved on Compute Engine")
  add("--network", default="")
  add("--subnetwork", default="")
  add("--internal-ips", action="store_true",
      help="no external addresses; needs Cloud NAT")
  add("--runtime", default="", metavar="VERSION",
      help="runtime version instead of the table's")
  add("--image-family", default="", help="Compute Engine image family "
      "instead of the table's")
  add("--disk", default="200GB", help="boot disk (Compute Engine)")
  add("--env", action="append", default=[], metavar="NAME=VALUE",
      help="environment variable of the trainer; may be repeated; stored "
      "readable in the bucket, so no secrets")
  add("--python", default="3.12", help="version on the workers")
  add("--max-restarts", type=int, default=10, metavar="N",
      help="starts of the trainer per day and machine (default 10)")
  add("--max-hours", type=int, default=168, metavar="N", help="of training, "
      "over all slices one after the other; then the job is saved and ended "
      "(default 168, a week; 0: no limit)")
  add("--self-delete", action=argparse.BooleanOptionalAction, default=True,
      help="the slice deletes itself when the job has ended, watched or not")
  add("--watch-vm", action="store_true", help="a small machine (e2-micro) "
      "watches instead of this computer, and deletes itself at the end")
  add("--replace", action="store_true", help="delete the job's slices first "
      "(it saves), then go on with these flags, such as another --accelerator")
  add("--dry-run", action="store_true", help="print every command, run none")
  add("--watch", action=argparse.BooleanOptionalAction, default=True,
      help="recreate the slices when they are taken away")
  watch_lib.add_flags(parser)
  return parser


def parse(argv: Sequence[str]) -> tuple[job_lib.Job, argparse.Namespace]:
  """Reads the command line into a checked job and the other flags.

  Raises:
    UsageError: a flag is missing or not valid.
  """
  argv = list(argv)
  cut = argv.index("--") if "--" in argv else len(argv)
  args = _parser().read(argv[:cut])
  trainer = tuple(argv[cut + 1:])
  job = job_lib.Job(
      name=args.name or job_lib.default_name(trainer),
      accelerator=args.accelerator, zone=args.zone,
      bucket=args.bucket.rstrip("/"), args=trainer, project=args.project,
      backend=args.backend or job_lib.default_backend(args.accelerator),
      tier=args.tier, slices=args.slices,
      service_account=args.service_account, valid_until=args.valid_until,
      reservation=args.reservation, network=args.network,
      subnetwork=args.subnetwork, internal_ips=args.internal_ips,
      runtime=args.runtime, image_family=args.image_family, disk=args.disk,
      env=tuple(args.env), python=args.python,
      max_restarts=args.max_restarts, data=args.data.rstrip("/"),
      data_on=args.data_on, data_gb=args.data_gb,
      max_hours=args.max_hours, watch_vm=args.watch_vm,
      self_delete=args.self_delete and not args.keep)
  job_lib.validate(job)
  data.check(job)
  return job, args


def dry_run(job: job_lib.Job, interval: float) -> str:
  """Returns every command of the job, for pasting in the checkout."""
  api = slices.backend(job)
  staging = pathlib.Path("runs") / "launch" / job.name  # Of the checkout.
  lines = [f"# {job.describe()}", f"# {data.describe(job)}", ""]
  if data.has_data(job):
    lines += ["# 0. Count the data (the counts in 1 are then filled in).",
              show(data.list_command(job)), ""]
  lines += ["# 1. Pack the checkout's tracked files and the job's inputs.",
            *source.stage_script(job, staging), "",
            "# 2. Send them to the bucket.",
            show(source.send_command(job, staging)), "",
            "# 3. Ask for the slices."]
  lines += [show(c) for c in api.create_commands(job, source.STARTUP)]
  if job.watch_vm:
    lines += ["", "# 4. Ask for the machine that watches, which does:",
              show(watch_vm.create_command(job))]
  lines += ["", f"# {4 + job.watch_vm}. Watch: every {interval:g} s, the "
            "markers DONE and FAILED, and the state.",
            show(slices.list_command(job)), show(api.state_command(job))]
  for title, final in (("Taken away or failed: delete, then 3 again", False),
                       ("After DONE or FAILED: delete", True)):
    lines += ["", f"# {title}."]
    for command in api.delete_commands(job, final=final):
      lines += ["# " + line for line in show(command).splitlines()]
  return "\n".join(lines) + "\n"


def _compare(job: job_lib.Job, before: job_lib.Job) -> None:
  if before.args != job.args:
    raise UsageError(
        f"{job.folder} is another job's: it was started with "
        f"{' '.join(before.args)!r}, not {' '.join(job.args)!r}; choose "
        "another --name")


def launch(job: job_lib.Job, args: argparse.Namespace) -> int:
  """Sends, creates and watches; a job that exists already is only watched.

  Returns:
    The exit code.

  Raises:
    LaunchError: Google Cloud refused something; the message says why.
  """
  before = slices.read_job(job.folder)
  if before is not None:
    _compare(job, before)
    if "DONE" in slices.markers(job):
      log(f"{job.name} is done already; see {job.folder}/ (remove "
          f"{job.folder}/DONE to continue it)")
      return 0
  state, detail = slices.state(before or job)
  if args.replace and before is not None and state != "MISSING":
    slices.remove(before, args.interval)
    state = "MISSING"
  if state != "MISSING":
    log(f"{job.name} exists ({detail or state}): nothing is sent. To send "
        f"changed code or flags, delete it first: {hint(job, delete=True)}")
    job = before or job
  else:
    job = data.measured(job)
    log(job.describe())
    log(data.describe(job))
    if note := data.slow_note(job):
      log(note)
    with tempfile.TemporaryDirectory() as folder:
      source.stage(job, pathlib.Path(folder))
      slices.send(job, pathlib.Path(folder))
    slices.remove_marker(job, "FAILED")
  if args.watch_vm and not job.watch_vm:
    raise UsageError(f"--watch-vm: {job.name} was started without it; delete "
                     f"it first ({hint(job, delete=True)})")
  if job.watch_vm:
    # The machine also asks for the slices, so that only one watches.
    watch_vm.create(job)
    log(f"{watch_vm.name(job)} watches; this computer is not needed. To see "
        f"it: {hint(job)}; to delete all: {hint(job, delete=True)}")
    return 0
  if args.watch:
    return watch(job, watch_lib.read_options(args))
  if state == "MISSING":
    slices.create(job)
  log(f"not watched, so its slices are not recreated. To watch: {hint(job)}; "
      f"to delete: {hint(job, delete=True)}")
  return 0


@one_line("launch/run.py")
def main(argv: Sequence[str]) -> int:
  """The command line; returns the exit code."""
  job, args = parse(argv)
  if args.dry_run:
    print(dry_run(job, args.interval), end="")
    return 0
  return launch(job, args)


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))

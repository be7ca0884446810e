#!/usr/bin/env python3
"""Tries the checkout on an existing slice, over ssh to all its workers.

  launch/dev.py --name=my-tpu --accelerator=v5litepod-16 --zone=us-west4-a \\
      -- --config=configs/vit.py:b16,cifar10 --workdir=gs://my-bucket/try

Copies the tracked files to every worker, installs them there the first time,
and runs `python -m vit_jax.main` with what follows `--` on all of them at
once. The output of worker 0 is shown, that of every worker kept in
runs/dev/NAME/. When one worker fails, or at Ctrl-C, all are stopped. Nothing
resumes by itself: to train, use launch/run.py. Run `ssh-add
~/.ssh/google_compute_engine` first, or each worker asks for the passphrase.
"""

from collections.abc import Callable, Sequence
import pathlib
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from launch import job as job_lib
from launch import patterns, slices, source
from launch.command import Parser, one_line
from launch.gcloud import Command, LaunchError, UsageError, log, show

TARBALL = "vit_dev.tar.gz"  # In the home folder, which is nobody else's.
# Everything is installed once; later copies only replace the source.
INSTALL = " && ".join([
    "mkdir -p ~/vit_dev && cd ~/vit_dev && rm -rf src && mkdir src",
    f"tar -xzf ~/{TARBALL} -C src",
    "export PATH=$PATH:$HOME/vit_dev/uv/bin",
    "{ command -v uv >/dev/null"
    " || python3 -m pip install -q --require-hashes --only-binary=:all:"
    " --target uv -r src/launch/uv.txt; }",
    "stamp=$(cat src/setup.py src/launch/constraints.txt | sha256sum)",
    '{ [ "$stamp" = "$(cat installed 2>&1)" ] || { rm -rf venv'
    " && uv venv -q --python 3.12 venv && uv pip install -q --python"
    " venv/bin/python --constraint src/launch/constraints.txt"
    " -e 'src[tpu]' 'etils[epath-gcs]' && echo \"$stamp\" > installed; }; }"])
STOP = ("pkill -TERM -f '[v]it_jax.main'; sleep 2; "
        "sudo fuser -k /dev/accel* /dev/vfio/[0-9]* 2>/dev/null; "
        "sudo rm -f /tmp/libtpu_lockfile")


def train_command(args: Sequence[str]) -> str:
  """Returns what each worker runs in its shell."""
  return ("cd ~/vit_dev/src && ulimit -n 100000; PYTHONUNBUFFERED=1 exec "
          "~/vit_dev/venv/bin/python -m vit_jax.main " + shlex.join(args))


def on_all(commands: dict[str, Command], folder: pathlib.Path, step: str,
           *, shown: str = "") -> None:
  """Runs one command per worker, all at once, each into its own log.

  Args:
    commands: worker -> command.
    folder: of the logs worker_W.log, which are appended to.
    step: what is being done, for the messages.
    shown: worker whose output is also printed.

  Raises:
    LaunchError: a worker failed; the others are terminated.
  """
  folder.mkdir(parents=True, exist_ok=True)
  log(f"{step}: {len(commands)} workers, logs in {folder}/")
  running = {}
  try:
    for worker, command in commands.items():
      # One process group per worker: gcloud starts ssh, which must end with it.
      process = subprocess.Popen(
          command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
          stderr=subprocess.STDOUT, text=True, start_new_session=True)
      path = folder / f"worker_{worker}.log"
      thread = threading.Thread(
          target=_keep, args=(process, path, worker == shown), daemon=True)
      thread.start()
      running[worker] = (process, thread)
    _wait_for_all(running, step, folder)
  finally:
    for process, _ in running.values():
      if process.poll() is None:
        process.send_signal(signal.SIGTERM)


def _keep(process: subprocess.Popen, path: pathlib.Path, show: bool) -> None:
  with open(path, "a") as file:
    for line in process.stdout or ():
      file.write(line)
      file.flush()
      if show:
        print(line, end="", flush=True)


def _wait_for_all(running: dict, step: str, folder: pathlib.Path) -> None:
  waiting = dict(running)
  while waiting:
    for worker, (process, thread) in list(waiting.items()):
      code = process.poll()
      if code is None:
        continue
      thread.join()
      del waiting[worker]
      if code:
        path = folder / f"worker_{worker}.log"
        tail = "".join(path.read_text().splitlines(True)[-20:])
        raise LaunchError(f"{step} failed on worker {worker} (exit {code}):\n"
                          f"{tail}")
    time.sleep(0.02)


def _parser() -> Parser:
  parser = Parser("launch/dev.py", __doc__)
  add = parser.add_argument
  add("--name", required=True, help="of the TPU VM, or instance group")
  add("--accelerator", required=True)
  add("--zone", required=True)
  add("--project", default="")
  add("--backend", default="", choices=("", *job_lib.BACKENDS))
  add("--logs", default="runs/dev", type=pathlib.Path, metavar="FOLDER")
  add("--stop", action="store_true", help="only stop what runs there")
  add("--dry-run", action="store_true", help="print every command, run none")
  return parser


def _steps(job: job_lib.Job, tarball: str, stop: bool
           ) -> list[tuple[str, Callable[[str], Command]]]:
  api = slices.backend(job)
  if stop:
    return [("stop", lambda w: api.ssh_command(job, w, STOP))]
  return [
      ("copy", lambda w: api.copy_command(job, w, tarball, TARBALL)),
      ("install", lambda w: api.ssh_command(job, w, INSTALL)),
      ("train", lambda w: api.ssh_command(job, w, train_command(job.args)))]


def develop(job: job_lib.Job, folder: pathlib.Path, stop: bool) -> int:
  """Copies, installs and trains (or only stops) on all workers.

  Raises:
    LaunchError: a step failed on a worker.
  """
  workers = slices.backend(job).workers(job)
  with tempfile.TemporaryDirectory() as temporary:
    tarball = str(pathlib.Path(temporary) / "source.tar.gz")
    if not stop:
      source.pack(pathlib.Path(tarball))
    for step, command in _steps(job, tarball, stop):
      on_all({w: command(w) for w in workers}, folder, step,
             shown=workers[0] if step == "train" else "")
  return 0


@one_line("launch/dev.py")
def main(argv: Sequence[str]) -> int:
  """The command line; returns the exit code."""
  argv = list(argv)
  cut = argv.index("--") if "--" in argv else len(argv)
  args = _parser().read(argv[:cut])
  job = job_lib.Job(
      name=args.name, accelerator=args.accelerator, zone=args.zone,
      bucket="", args=tuple(argv[cut + 1:]), project=args.project,
      backend=args.backend or job_lib.default_backend(args.accelerator))
  patterns.check_fields(job)
  if not args.stop and not any("--workdir" in a for a in job.args):
    raise UsageError("expected the trainer's arguments after `--`, with "
                     "--config=... and --workdir=gs://...")
  folder = args.logs / job.name
  if args.dry_run:
    workers = [str(number) for number in range(job.slice.hosts)]
    for step, command in _steps(job, "source.tar.gz", args.stop):
      print(f"# {step}", *(show(command(w)) for w in workers), sep="\n")
    return 0
  try:
    return develop(job, folder, args.stop)
  except (KeyboardInterrupt, LaunchError) as error:
    log("stopping all workers")
    develop(job, folder, stop=True)
    if isinstance(error, LaunchError):
      raise
    return 130


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))

"""Packs the checkout and the job's inputs into a folder for the bucket.

In the bucket they lie under gs://BUCKET/NAME/job/:
  source.tar.gz    the checkout's tracked files, as they are on disk, no tests
  commit           the commit, and what differs from it
  args             the trainer's arguments, one a line
  env              environment variables and settings, one NAME=VALUE a line
  constraints.txt  exact versions for the installation
  job.json         the job, for watching and recreating from any machine
  SHA256SUMS       of all these, checked on every machine
"""

from collections.abc import Sequence
import hashlib
import pathlib
import shlex
import subprocess
import tarfile

from launch import data
from launch import job as job_lib
from launch.gcloud import Command, LaunchError, log

ROOT = pathlib.Path(__file__).resolve().parents[1]
STARTUP = "launch/startup.sh"
CONSTRAINTS = "launch/constraints.txt"
SUMS = "SHA256SUMS"
FILES = ("source.tar.gz", "commit", "args", "env", "constraints.txt",
         "job.json", SUMS)
# Tests and their goldens are most of the bytes, and a job needs neither.
_PATHS = (".", ":(exclude)tests")


def _git(*args: str) -> str:
  try:
    done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True,
                          text=True, check=False)
  except FileNotFoundError as error:
    raise LaunchError("git is not on the PATH; it says which files are the "
                      "source") from error
  if done.returncode:
    raise LaunchError(f"`git {args[0]}` failed in {ROOT}: "
                      f"{done.stderr.strip()}; launch/ sends the tracked "
                      "files of a git checkout")
  return done.stdout


def settings(job: job_lib.Job) -> list[str]:
  """Returns the lines of `env`: settings of startup.sh, then the user's."""
  return [f"VIT_PYTHON={job.python}",
          f"VIT_MAX_RESTARTS={job.max_restarts}",
          f"VIT_MAX_HOURS={job.max_hours}", f"VIT_WORKERS={job.workers}",
          f"VIT_SELF_DELETE={int(job.self_delete)}", *data.settings(job),
          *job.env]


def _texts(job: job_lib.Job) -> dict[str, Sequence[str]]:
  return {"args": job.args, "env": settings(job),
          "job.json": [job_lib.to_json(job)]}


def tracked() -> list[str]:
  """Returns the files that are sent, relative to the checkout."""
  names = _git("ls-files", "-z", "--", *_PATHS).split("\0")
  return sorted(name for name in names if name)


def pack(path: pathlib.Path) -> None:
  """Writes the checkout's tracked files, as they are on disk, as a tarball.

  Raises:
    LaunchError: this is not a git checkout, or a tracked file is missing.
  """
  names = tracked()
  missing = [n for n in names if not (ROOT / n).exists()]
  if missing:
    raise LaunchError(f"{missing[0]} is tracked by git but not on disk "
                      f"({len(missing)} such): restore it, or `git rm` it")
  others = _git("ls-files", "-z", "--others", "--exclude-standard", "--",
                "vit_jax", "configs").split("\0")
  others = [name for name in others if name]
  if others:
    log(f"not sent, because git does not track them: {len(others)} files "
        f"({', '.join(others[:3])}{', ...' if len(others) > 3 else ''}); "
        "`git add` them if the job needs them")
  with tarfile.open(path, "w:gz") as tar:
    for name in names:
      tar.add(ROOT / name, arcname=name, recursive=False)


def stage(job: job_lib.Job, folder: pathlib.Path) -> None:
  """Writes FILES into the folder; raises what pack raises."""
  folder.mkdir(parents=True, exist_ok=True)
  pack(folder / "source.tar.gz")
  (folder / "commit").write_text(_git("rev-parse", "HEAD")
                                 + _git("status", "--short"))
  for name, lines in _texts(job).items():
    (folder / name).write_text("".join(f"{line}\n" for line in lines))
  (folder / "constraints.txt").write_bytes(
      (ROOT / CONSTRAINTS).read_bytes())
  (folder / SUMS).write_text("".join(
      f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
      for name in FILES if name != SUMS))


def stage_script(job: job_lib.Job, folder: pathlib.Path) -> list[str]:
  """Returns shell lines that do what stage does, to be run in the checkout."""
  where = shlex.quote(str(folder))
  paths = " ".join(shlex.quote(p) for p in _PATHS)
  lines = [
      f"mkdir -p {where}",
      f"git ls-files -z -- {paths} |\n    tar --null -czf "
      f"{where}/source.tar.gz -T -",
      f"(git rev-parse HEAD; git status --short) > {where}/commit",
      f"cp {CONSTRAINTS} {where}/"]
  for name, texts in _texts(job).items():
    words = " ".join(shlex.quote(t) for t in texts)
    lines += [f"printf '%s\\n' {words} > {where}/{name}"]
  names = " ".join(name for name in FILES if name != SUMS)
  return [*lines, f"(cd {where} && sha256sum {names} > {SUMS})"]


def send_command(job: job_lib.Job, folder: pathlib.Path) -> Command:
  """Returns what copies the staged files into the job's folder."""
  return ["gcloud", "storage", "cp", *(str(folder / n) for n in FILES),
          f"{job.folder}/job/"]

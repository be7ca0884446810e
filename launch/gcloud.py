"""Runs gcloud, tells its errors apart, and shows commands for pasting."""

from collections.abc import Iterable, Sequence
import dataclasses
import re
import shlex
import shutil
import subprocess
import sys
import time

Command = list[str]


class LaunchError(Exception):
  """The work cannot be done; shown as one line without traceback."""

  exit_code = 1


class UsageError(LaunchError):
  """The command line itself is wrong."""

  exit_code = 2


class QuotaError(LaunchError):
  """Google Cloud refused: the project's quota does not allow it (now)."""


class FatalError(LaunchError):
  """Waiting and trying again does not help."""


class DeniedError(FatalError):
  """Not logged in, or no permission."""


# What gcloud's errors say, in the order in which they are tried. The texts
# are of the Cloud TPU API, Compute Engine and Cloud Storage.
_KINDS = (
    ("denied", r"PERMISSION_DENIED|does not have permission|gcloud auth login"
               r"|Reauthentication|do(es)? not have \S+ access|HTTPError 403"),
    ("quota", r"(?i)quota\b[^\n]*exceeded|exceeded[^\n]*\bquota"
              r"|RESOURCE_EXHAUSTED"),
    ("exists", r"ALREADY_EXISTS|already exists"),
    ("missing", r"NOT_FOUND|was not found|matched no objects|HTTPError 404"),
    ("transient", r"UNAVAILABLE|INTERNAL\b|DEADLINE_EXCEEDED|HTTPError 5\d\d"
                  r"|Connection|[Tt]imed out|no answer in|ServerError"),
)


@dataclasses.dataclass(frozen=True)
class Result:
  """What a command did; `kind` is "ok", one of _KINDS' names, or "other"."""

  command: Command
  kind: str
  out: str
  error: str


def log(message: str) -> None:
  """Writes one line for the person who watches, with the time of day."""
  print(f"[{time.strftime('%H:%M:%S')}] {message}", file=sys.stderr,
        flush=True)


def kind_of(error: str) -> str:
  """Says what sort of failure gcloud's standard error describes."""
  for kind, pattern in _KINDS:
    if re.search(pattern, error):
      return kind
  return "other"


def call(command: Sequence[str], *, quiet: bool = False,
         timeout: float = 1800) -> Result:
  """Runs one command and never raises for what Google Cloud answers.

  Args:
    command: program and arguments.
    quiet: leaves the command out of the log (for polling).
    timeout: seconds after which the command is given up ("other").

  Raises:
    LaunchError: the program is not installed.
  """
  command = list(command)
  if shutil.which(command[0]) is None:
    raise LaunchError(f"{command[0]} is not on the PATH; install the Google "
                      "Cloud CLI and run `gcloud auth login`")
  if not quiet:
    log("$ " + shlex.join(command))
  try:
    done = subprocess.run(command, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=timeout,
                          check=False)
  except subprocess.TimeoutExpired:
    return Result(command, "transient", "", f"no answer in {timeout:.0f} s")
  kind = "ok" if done.returncode == 0 else kind_of(done.stderr)
  return Result(command, kind, done.stdout, done.stderr.strip())


def check(result: Result, *, allow: Iterable[str] = ()) -> Result:
  """Raises what the result calls for, unless it is ok or of a kind in allow.

  Raises:
    QuotaError, DeniedError, LaunchError: with gcloud's own words.
  """
  if result.kind == "ok" or result.kind in allow:
    return result
  words = " ".join(result.error.split()) or "no message"
  text = f"`{shlex.join(result.command[:5])} ...` failed: {words}"
  if result.kind == "quota":
    raise QuotaError(text)
  if result.kind == "denied":
    raise DeniedError(f"{text} (log in with `gcloud auth login`, or ask for "
                      "the roles in launch/README.md)")
  raise LaunchError(text)


def show(command: Sequence[str]) -> str:
  r"""Returns the command quoted for a shell, a flag a line.

  >>> print(show(["gcloud", "x", "--flag=a b"]))
  gcloud x \
      '--flag=a b'
  """
  words = [shlex.quote(w) for w in command]
  first = next((i for i, w in enumerate(command) if w.startswith("-")),
               len(words))
  head = " ".join(words[:first])
  lines = [head, *words[first:]]
  if len(" ".join(lines)) <= 78:
    return " ".join(lines)
  return " \\\n    ".join(lines)

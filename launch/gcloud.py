"""Runs gcloud, classifies its errors, and formats commands for pasting."""

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
  """The project's quota does not allow it, at least not now."""


class FatalError(LaunchError):
  """Waiting and retrying does not help."""


class LostError(FatalError):
  """Google Cloud does not answer; the job may be running."""

  exit_code = 75


class DeniedError(FatalError):
  """Not logged in, or no permission."""


# Patterns of gcloud's error messages, tried in this order. The messages are
# those of the Cloud TPU API, Compute Engine and Cloud Storage.
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
class CommandResult:
  """The outcome of a command.

  Attributes:
    command: program and arguments.
    kind: "ok", one of the names in _KINDS, or "other".
    out: standard output.
    error: standard error.
  """

  command: Command
  kind: str
  out: str
  error: str


def log(message: str) -> None:
  """Writes one line for the user to standard error, with the time of day."""
  print(f"[{time.strftime('%H:%M:%S')}] {message}", file=sys.stderr,
        flush=True)


def kind_of(error: str) -> str:
  """Classifies what gcloud wrote to standard error."""
  for kind, pattern in _KINDS:
    if re.search(pattern, error):
      return kind
  return "other"


def call(command: Sequence[str], *, quiet: bool = False,
         timeout: float = 1800) -> CommandResult:
  """Runs one command; a refusal by Google Cloud is a result, not an exception.

  Args:
    command: program and arguments.
    quiet: leaves the command out of the log (for polling).
    timeout: seconds after which the command is abandoned ("transient").

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
    return CommandResult(
        command, "transient", "", f"no answer in {timeout:.0f} s")
  kind = "ok" if done.returncode == 0 else kind_of(done.stderr)
  return CommandResult(command, kind, done.stdout, done.stderr.strip())


def require_ok(
    result: CommandResult, *, allow: Iterable[str] = ()
) -> CommandResult:
  """Returns the result if it is ok or of an allowed kind.

  Raises:
    QuotaError, DeniedError, LaunchError: for any other, with gcloud's message.
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
  r"""Returns the command quoted for a shell, one flag per line.

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

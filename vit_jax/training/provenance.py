"""When, by which command and from which commit a run was started."""

import datetime
import os
import pathlib
import shlex
import subprocess
import sys

PACKAGE = pathlib.Path(__file__).parents[1]
_GIT_SECONDS = 10.0


def provenance() -> dict[str, str]:
  """Returns started (UTC), command and commit; "" where one is not known."""
  now = datetime.datetime.now(datetime.UTC)
  return {"started": now.isoformat(timespec="seconds"), "command": command(),
          "commit": commit()}


def command() -> str:
  """Returns the command line of this process, to be pasted into a shell.

  Empty in a notebook, whose command does not say what it ran.
  """
  words = sys.orig_argv
  if not words or "ipykernel" in " ".join(words):
    return ""
  return shlex.join([os.path.basename(words[0]), *words[1:]])


def commit(package: pathlib.Path = PACKAGE) -> str:
  """Returns the commit of the package's checkout, with "-dirty" if changed.

  Empty where it is not a checkout of its own: installed as a wheel, say, even
  into an environment inside another project's checkout.
  """
  def git(*words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(package), *words], capture_output=True, text=True,
        check=True, timeout=_GIT_SECONDS,
        # Reading must not write into the checkout.
        env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"}).stdout.strip()

  try:
    root = pathlib.Path(git("rev-parse", "--show-toplevel"))
    if root.resolve() != package.resolve().parent:
      return ""
    return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
  except (OSError, subprocess.SubprocessError):
    return ""

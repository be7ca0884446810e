#!/usr/bin/env python3
"""Lists what launch/ has started and is still there, with its age.

  launch/status.py [--project=PROJECT]     everything of every job
  launch/status.py gs://BUCKET/NAME        one job: its step, markers, machines

Everything listed costs money, except requests that are waiting. It is found by
the label vit-job, in all zones.
"""

from collections.abc import Sequence
import datetime
import json
import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from launch import slices
from launch.command import Parser, one_line
from launch.gcloud import Command, LaunchError, UsageError, call, require_ok

_LISTS = {
    "TPU VM": (["tpus", "tpu-vm", "list", "--zone=-"], "createTime"),
    "request": (["tpus", "queued-resources", "list", "--zone=-"],
                "createTime"),
    "machine": (["instances", "list"], "creationTimestamp"),
}


def list_command(kind: str, project: str) -> Command:
  """Returns what lists one kind of things as JSON."""
  words, _ = _LISTS[kind]
  where = [f"--project={project}"] if project else []
  # A request carries no labels: those of its nodes do.
  only = [] if kind == "request" else ["--filter=labels.vit-job:*"]
  return ["gcloud", "compute", *words, *where, *only, "--format=json"]


def _age(text: str, now: datetime.datetime) -> str:
  try:
    # Google Cloud writes nanoseconds, Python reads at most microseconds.
    head, _, rest = text.partition(".")
    zone = "+00:00" if text.endswith("Z") else rest[-6:] if rest else ""
    begun = datetime.datetime.fromisoformat(head.removesuffix("Z") + zone)
    hours = (now - begun).total_seconds() / 3600
  except (ValueError, TypeError):
    return "?"
  return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def _nodes(item: dict[str, Any]) -> list[dict[str, Any]]:
  """Returns the nodes that a request asks for."""
  return [spec.get("node", {}) for spec in
          item.get("tpu", {}).get("nodeSpec", [])]


def rows(kind: str, text: str, now: datetime.datetime) -> list[list[str]]:
  """Turns the JSON of list_command into rows: kind, name, job, state, age.

  Raises:
    LaunchError: it is not what gcloud writes.
  """
  found = []
  try:
    for item in json.loads(text or "[]"):
      nodes = [item] if kind != "request" else _nodes(item)
      jobs = {node.get("labels", {}).get("vit-job", "") for node in nodes}
      if jobs <= {""}:
        continue
      state = item.get("state") or item.get("status") or "?"
      state = state.get("state", "?") if isinstance(state, dict) else state
      found.append([
          kind, item["name"].rpartition("/")[2], " ".join(sorted(jobs)), state,
          _age(item.get(_LISTS[kind][1], ""), now)])
  except (ValueError, KeyError, AttributeError, TypeError) as error:
    raise LaunchError(f"gcloud's list of {kind}s cannot be read: {error}"
                      ) from error
  return found


def table(lines: list[list[str]]) -> str:
  """Returns aligned columns under their heads."""
  lines = [["what", "name", "job", "state", "age"], *lines]
  widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
  return "\n".join("  ".join(
      word.ljust(width) for word, width in zip(line, widths, strict=True)
  ).rstrip() for line in lines) + "\n"


def everything(project: str, job: str = "") -> str:
  """Returns the table of what is there, of one job or of all.

  Raises:
    LaunchError: gcloud cannot list something.
  """
  now = datetime.datetime.now(datetime.UTC)
  found = []
  for kind in _LISTS:
    result = require_ok(call(list_command(kind, project), quiet=True))
    found += rows(kind, result.out, now)
  found = [row for row in found if not job or row[2] == job]
  return table(found) if found else "nothing is there\n"


def of_job(folder: str) -> tuple[str, str, str]:
  """Returns (name, project, text): what a job's folder says.

  Raises:
    UsageError: no job was started with that folder.
    LaunchError: the bucket cannot be read.
  """
  job = slices.read_job(folder)
  if job is None:
    raise UsageError(f"{folder}/job/job.json is not there: no job was "
                     "started with that --bucket and --name")
  lines = [job.describe()]
  for name in ("heartbeat.json", "minutes", "DONE", "FAILED", "NOT_DELETED"):
    result = require_ok(
        call(["gcloud", "storage", "cat", f"{folder}/{name}"], quiet=True),
        allow=("missing",))
    if result.kind == "ok":
      lines.append(f"{name}: {result.out.strip()}")
  return job.name, job.project, "\n".join(lines) + "\n"


@one_line("launch/status.py")
def main(argv: Sequence[str]) -> int:
  """The command line; returns the exit code."""
  parser = Parser("launch/status.py", __doc__)
  parser.add_argument("folder", nargs="?", default="",
                      help="gs://BUCKET/NAME of a job")
  parser.add_argument("--project", default="", help="default: gcloud's")
  args = parser.read(argv)
  name, project = "", args.project
  if args.folder:
    name, project, text = of_job(args.folder.rstrip("/"))
    print(text, end="")
  print(everything(args.project or project, name), end="")
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))

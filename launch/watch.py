#!/usr/bin/env python3
"""Watches a job: recreates its slices when they are taken away.

  launch/watch.py gs://BUCKET/NAME            watch
  launch/watch.py gs://BUCKET/NAME --delete   delete the slices, keep the files

The job also runs without a watcher; only the recreation needs one. Everything
that it needs is in the bucket, so any machine with gcloud can watch.
Exit codes: 0 the job is done, 1 it failed, 2 wrong usage, 75 Google Cloud did
not answer (the job may be running), 130 Ctrl-C.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from launch import slices
from launch.command import Parser, one_line
from launch.gcloud import UsageError, log
from launch.watcher import WatchOptions, watch

_HELP = {"interval": "seconds between two polls",
         "max_failures": "failed requests before giving up",
         "quota_tries": "refusals by the quota before giving up",
         "quota_wait": "seconds to wait after the first of them, then doubled",
         "log_wait": "seconds to wait for the last logs"}


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of WatchOptions to a parser."""
  group = parser.add_argument_group("watching")
  for field in dataclasses.fields(WatchOptions):
    flag = "--" + field.name.replace("_", "-")
    if field.type in (bool, "bool"):
      group.add_argument(flag, action="store_true",
                         help="leave the slices running after a failure")
    else:
      group.add_argument(flag, type=type(field.default),
                         default=field.default, metavar="N",
                         help=f"{_HELP[field.name]} (default %(default)s)")


def read_options(args: argparse.Namespace) -> WatchOptions:
  """Returns the WatchOptions that the flags of add_flags set."""
  return WatchOptions(**{f.name: getattr(args, f.name)
                    for f in dataclasses.fields(WatchOptions)})


@one_line("launch/watch.py")
def main(argv: Sequence[str]) -> int:
  """The command line; returns the exit code."""
  parser = Parser("launch/watch.py", __doc__)
  parser.add_argument("folder", help="gs://BUCKET/NAME of the job")
  parser.add_argument("--delete", action="store_true",
                      help="delete the slices (not the bucket's files)")
  add_flags(parser)
  args = parser.read(argv)
  folder = args.folder.rstrip("/")
  job = slices.read_job(folder)
  if job is None:
    raise UsageError(f"{folder}/job/job.json is not there: no job was "
                     "started with that --bucket and --name")
  if args.delete:
    slices.delete_all(job)
    log(f"deleted; the files stay in {folder}/ (gcloud storage rm "
        f"--recursive {folder}/ removes them)")
    return 0
  return watch(job, read_options(args))


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))

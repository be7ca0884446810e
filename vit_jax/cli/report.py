"""Writes report.html and curves.png of a run, or of several side by side.

  python -m vit_jax report --workdir=runs/digits
  python -m vit_jax report --workdir=runs/a --workdir=runs/b --out=runs/compared

The page is one file that needs no network: loss, accuracy, learning-rate and
speed curves (several runs overlaid), final scores, pictures with what was
predicted, the config (and in what the runs differ) and the environment.
Training writes it at its end; this makes it again, or while a run goes on."""

import argparse

from vit_jax.cli import common


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  add("--workdir", required=True, action="append", metavar="DIR",
      help="of a run; repeat it to compare runs")
  add("--out", metavar="DIR", help="folder for the two files (default: the "
      "--workdir; needed with several)")
  common.add_json(parser)


def run(args: argparse.Namespace) -> None:
  """Writes the report and says where."""
  from vit_jax.report import write_report

  common.refuse(
      len(args.workdir) > 1 and not args.out,
      "--out=DIR is missing: where should the report of several runs go?")
  page, picture = write_report(args.workdir, args.out)
  if args.json:
    common.print_json({"report": page, "curves": picture})
  else:
    print(f"wrote {page}\nwrote {picture}")

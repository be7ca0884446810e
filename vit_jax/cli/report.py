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
  add("--samples", type=common.positive, metavar="N",
      help="predict N pictures anew with the run's newest weights, from the "
      "data of its first evaluation")
  add("--out", metavar="DIR", help="folder for the two files (default: the "
      "--workdir; needed with several)")
  common.add_json(parser)


def run(args: argparse.Namespace) -> None:
  """Writes the report and says where."""
  from vit_jax.report.write import write_report

  common.refuse(
      len(args.workdir) > 1 and not args.out,
      "--out=DIR is missing: where should the report of several runs go?")
  if args.samples:
    for workdir in args.workdir:
      predict_samples(workdir, args.samples)
  page, picture = write_report(args.workdir, args.out)
  if args.json:
    common.print_json({"report": page, "curves": picture})
  else:
    print(f"wrote {page}\nwrote {picture}")


def predict_samples(workdir: str, count: int) -> None:
  """Writes WORKDIR/samples.npz anew.

  Raises:
    UsageError: the directory is of no run, or the run has no evaluation.
  """
  from vit_jax.cli import opening
  from vit_jax.data.sources import make_source
  from vit_jax.report import write

  config = opening.run_config(workdir)
  common.refuse(config is None, f"{workdir}: no run with weights is here")
  common.refuse(not config["evals"], f"{workdir}: the run has no evaluation "
                "(config.evals), so there is no data for --samples")
  entry = next(iter(config["evals"].values()))
  data_dir = entry["data_dir"] or (
      "" if entry["source"] else config["data"]["data_dir"])
  source = make_source(entry["source"] or config["data"]["source"],
                       split=entry["split"], data_dir=data_dir)
  loaded = opening.open_model(workdir, preprocess=entry["preprocess"])
  write.predict_samples(
      workdir, model=loaded.model, params=loaded.params, source=source,
      preprocess=entry["preprocess"], image_size=loaded.config["image_size"],
      count=count)

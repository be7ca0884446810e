"""Writes report.html and curves.png of a run, or of several side by side.

  python -m vit_jax report --workdir=runs/quickstart
  python -m vit_jax report --workdir=runs/a --workdir=runs/b --out=runs/compared

The page is one file that needs no network: loss, accuracy, learning-rate and
speed curves (several runs overlaid), final scores, images with the predicted
classes, the config (with the differences between runs) and the environment.
Training writes it at its end; this verb writes it again, or during a run."""

import argparse

from vit_jax.cli import arguments, logs, output
from vit_jax.errors import UsageError


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  add("--workdir", required=True, action="append", metavar="DIR",
      help="working directory of a run; repeat it to compare runs")
  add("--samples", type=arguments.positive, metavar="N",
      help="first predict N images of the run's first evaluation again, and N "
      "that it had mistaken, with its newest weights")
  add("--out", metavar="DIR", help="folder for the two files (default: the "
      "--workdir; required with several)")
  arguments.add_json(parser)


def run(args: argparse.Namespace) -> None:
  """Writes the report and prints where."""
  if len(args.workdir) > 1 and not args.out:
    raise UsageError(
        "--out=DIR is missing: where should the report of several runs go?")
  logs.starting(f"reading {', '.join(args.workdir)}")
  from vit_jax.report.write import write_report

  if args.samples:
    for workdir in args.workdir:
      predict_samples(workdir, args.samples)
  page, curves = write_report(args.workdir, args.out)
  if args.json:
    output.print_json({"report": page, "curves": curves})
  else:
    print(f"wrote {page}\nwrote {curves}")


def predict_samples(workdir: str, count: int) -> None:
  """Writes WORKDIR/samples.npz again.

  Raises:
    UsageError: there is no run in the directory, or it has no evaluation.
  """
  from vit_jax.cli import opening
  from vit_jax.data.sources import make_source
  from vit_jax.data.sources.classes import match_classes
  from vit_jax.report import write
  from vit_jax.training.workdir import read_mistakes

  config = opening.run_config(workdir)
  if config is None:
    raise UsageError(f"{workdir}: not the working directory of a run "
                     "with weights")
  if not config["evals"]:
    raise UsageError(f"{workdir}: the run has no evaluation (config.evals), so "
                     "there is no data for --samples")
  name, entry = next(iter(config["evals"].items()))
  data_dir = entry["data_dir"] or (
      "" if entry["source"] else config["data"]["data_dir"])
  source = make_source(entry["source"] or config["data"]["source"],
                       split=entry["split"], data_dir=data_dir)
  loaded = opening.open_model(workdir, preprocess=entry["preprocess"])
  if loaded.class_names and source.class_names:
    source = match_classes(
        source, loaded.class_names, loaded.model.num_classes)
  described = loaded.config["metadata"]  # A checkpoint on the way has none.
  write.predict_samples(
      workdir, model=loaded.model, params=loaded.params, source=source,
      preprocess=entry["preprocess"], image_size=loaded.config["image_size"],
      count=count, mistakes=read_mistakes(
          workdir, name, described.get("step")))

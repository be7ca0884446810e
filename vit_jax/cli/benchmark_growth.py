"""benchmark --growth: cost over batch, tokens and depth, as a table or JSON."""

import argparse
import dataclasses
import datetime
import json

from vit_jax.cli import logs, output
from vit_jax.errors import UsageError

SECONDS = 1.0
NAMES = {"seconds": "time", "bytes": "memory", "tpu_seconds": "TPU: time",
         "tpu_bytes": "TPU: memory"}


def run_growth(args: argparse.Namespace) -> int:
  """Measures, prints the fitted powers, and draws them.

  Raises:
    UsageError: a flag that belongs to another benchmark, another kind of
      model, or a slice of more devices than one.
  """
  for name in ("models", "sizes", "batches", "max_batch", "what", "dtype",
               "attention", "steps", "record"):
    if getattr(args, name):
      raise UsageError(f"--growth varies batch, tokens and depth itself; leave "
                       f"out --{'from' if name == 'record' else name}")
  if args.config_words:
    raise UsageError("--growth takes no --config.KEY")
  family, _, patch = args.growth.rpartition("/")
  if patch != "16" or "+" in family:
    raise UsageError(f"--growth={args.growth}: a ViT with patches of 16x16 is "
                     "expected, such as Ti/16")
  logs.starting("starting to measure")
  topology = None
  if args.topology:
    from vit_jax.aot import topologies

    topology = topologies.parse(args.topology)
    if topology.device_count > 1:
      raise UsageError(f"--topology={args.topology} has "
                       f"{topology.device_count} devices; --growth takes one, "
                       "such as v5e-1")
    topologies.set_up_libtpu()  # Before jax looks for devices.
  from vit_jax.benchmark import growth, growth_plot
  from vit_jax.training.workdir import environment
  from vit_jax.weights.formats.atomic import write_whole

  with logs.each_warning_once(), output.stdout_is_stderr():
    points = list(growth.measure(
        args.growth, topology, seconds=args.seconds or SECONDS,
        note=logs.note))
  powers = growth.exponents(points)
  record = environment() | {
      "date": datetime.date.today().isoformat(), "model": args.growth,
      "topology": args.topology, "base": growth.BASE, "exponents": powers,
      "points": [dataclasses.asdict(point) for point in points]}
  if args.out:
    write_whole(args.out, (json.dumps(record, indent=2) + "\n").encode())
  if args.figure:
    growth_plot.write_figure(
        points, args.figure, model=args.growth, slice_name=args.topology)
  if args.json:
    output.print_json(record)
    return 0
  output.print_table(
      [[row["axis"], NAMES[row["quantity"]],
        f"{row['fitted']:.2f} ± {row['standard_error']:.2f}",
        f"{row['predicted']:.2f}"] for row in powers],
      ("grows with", "", "fitted power", "by formula"), right=(2, 3))
  for path in filter(None, (args.out, args.figure)):
    print(f"wrote {path}")
  return 0

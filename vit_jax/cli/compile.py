"""Estimates a run on a TPU slice, without a TPU: does it fit, at what cost?

  python -m vit_jax compile --config=configs/pretrain.py:L/16,imagenet21k \\
      --topology=v3-512
  python -m vit_jax compile --config=configs/vit.py:b16,cifar10 \\
      --topology=v5e-8 --auto --out=fastest.flags
  python -m vit_jax compile --table

The train step of that very config, sharded as it would be, is compiled by the
TPU compiler (pip install 'vit_jax[tpu]') on the CPU of this machine; S/16 takes
about half a minute, H/14 some minutes. Slices are named as in Google Cloud
(v3-512, v5litepod-16, v6e-64, '2x v5e-256' for two joined) or by shape
(v5e:16x16). If the run does not fit, ways to make it fit are tried: remat, then
accumulation, fsdp, tensor, then several. The compiler is exact about memory.
Times are estimates: a lower bound from the program's matrix products and memory
traffic, nearer with --schedule (docs/estimates.md). If libtpu dies of a stack
overflow (0.0.42.1 does for 7x and 8 images per device), run
`ulimit -s unlimited` before the command."""

import argparse
from collections.abc import Sequence
import contextlib
import dataclasses
import tempfile
from typing import TYPE_CHECKING, TypedDict

from vit_jax.cli import arguments, logs, output
from vit_jax.cli.estimate_table import cost, gibibytes, print_estimate
from vit_jax.errors import UsageError

if TYPE_CHECKING:
  from ml_collections import ConfigDict

  from vit_jax.aot.topologies import Topology


class DataSize(TypedDict):
  """Classes and updates in all; where final schedules are written, if so."""

  num_classes: int
  total: int
  schedule: str | None


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  names = arguments.list_of(str)
  arguments.add_config(parser)
  add("--topology", metavar="SLICE", help="v2 to 7x, such as v5e-256")
  add("--eval", action="store_true",
      help="also compile the forward pass of an evaluation")
  add("--schedule", action="store_true",
      help="time operations by the compiler's final schedule, which takes "
      "half as long again and some 100 MB for a while")
  add("--auto", action="store_true",
      help="search images per device x remat x mesh for the most img/s; "
      "with --schedule also attention=fused")
  add("--per_device", type=arguments.list_of(arguments.positive), default=(),
      metavar="N,N,...", help="with --auto: images that a device takes at a "
      "time (default: the config's share, a half and a quarter of it, by "
      "accumulation)")
  add("--out", metavar="FILE", type=arguments.output_path,
      help="with --auto: write the winning overrides "
      "here, for $(cat FILE); with --table: write it as Markdown")
  add("--no_remedies", action="store_true",
      help="do not look for what would make it fit")
  add("--examples", type=arguments.positive, metavar="N",
      help="images in the training data, if the data are not on this machine")
  add("--num_classes", type=arguments.positive, metavar="N", help="likewise")
  add("--price", type=arguments.number, metavar="P", help="of one "
      "chip for an hour, from Google Cloud's price list: adds what the run "
      "costs")
  add("--table", action="store_true",
      help="five models on six slices, pre-training at batch 4,096")
  add("--models", type=names, metavar="M,M,...", help="of the table")
  add("--topologies", type=names, metavar="S,S,...", help="of the table")
  arguments.add_json(parser)


def run(args: argparse.Namespace) -> int:
  """Prints estimates; 0 also where a run does not fit: that is an answer."""
  if not args.table and not args.topology:
    raise UsageError("--topology=SLICE is missing, such as v5e-256")
  logs.starting("starting the TPU compiler")
  from vit_jax.aot import topologies

  with contextlib.ExitStack() as stack:
    folder = stack.enter_context(
        tempfile.TemporaryDirectory(prefix="vit_jax-schedule-")
    ) if args.schedule else None
    topologies.set_up_libtpu(folder)  # Before jax looks for devices.
    if args.table:
      return _table(args, args.config_words, folder)
    return _config(args, folder)


def _config(args: argparse.Namespace, schedule: str | None) -> int:
  """Estimates one config, or searches with --auto."""
  from vit_jax.aot import topologies
  from vit_jax.config import schema
  from vit_jax.config.find import load_config
  from vit_jax.training.complete import completed

  topology = topologies.parse(args.topology)
  if schedule is not None:
    topologies.check_schedule(topology)
  config = schema.resolve(load_config(args.config_words))
  examples, num_classes = _data(config, args)
  config, _ = completed(config, num_classes)
  data = DataSize(num_classes=num_classes,
                  total=schema.total_steps(config, examples),
                  schedule=schedule)
  if args.auto:
    return _auto(args, config, topology, data)
  return _one(args, config, topology, data)


def _one(args: argparse.Namespace, config: "ConfigDict", topology: "Topology",
         data: DataSize) -> int:
  """Compiles one config and prints the estimate."""
  from vit_jax.aot.estimate import estimate
  from vit_jax.aot.fit import make_fit

  logs.note(f"compiling for {topology.libtpu_name}, {topology.device_count} "
              "devices")
  step = estimate(config, topology, **data)
  remedy = None
  if not step.fits and not args.no_remedies:
    remedy = make_fit(config, topology, **data, note=logs.note)
  evaluation = (
      estimate(config, topology, **data, evaluation=True)
      if args.eval else None)
  if args.json:
    output.print_json(dataclasses.asdict(step) | {
        "cost": (cost(step, args.price)
                 if args.price and step.days is not None else None),
        "remedy": None if remedy is None else {
            "overrides": remedy.overrides} | dataclasses.asdict(
                remedy.estimate),
        "eval": evaluation and dataclasses.asdict(evaluation)})
    return 0
  print_estimate(step, args.price)
  if remedy is not None:
    print(f"\nIt fits with {remedy.overrides}:\n")
    print_estimate(remedy.estimate, args.price)
  elif not step.fits and not args.no_remedies:
    print("\nNothing that was tried makes it fit; take a larger slice.")
  if evaluation is not None:
    print("\nThe forward pass of an evaluation:\n")
    print_estimate(evaluation)
  return 0


def _auto(args: argparse.Namespace, config: "ConfigDict", topology: "Topology",
          data: DataSize) -> int:
  """Searches, prints the best few and writes the winner."""
  from vit_jax.aot.fit import search

  tries = search(config, topology, **data, per_device=args.per_device,
                 note=logs.note)
  best = tries[0]
  if args.out:
    with open(args.out, "w", encoding="utf-8") as file:
      file.write(best.overrides + "\n")
  if args.json:
    output.print_json(dataclasses.asdict(best.estimate) | {
        "overrides": best.overrides,
        "tries": [{"overrides": t.overrides,
                   "images_per_second_per_device":
                       t.estimate.images_per_second_per_device,
                   "peak_bytes": t.estimate.peak_bytes} for t in tries]})
    return 0
  output.print_table(
      [[t.overrides or "(the config as it is)",
        f"{t.estimate.images_per_second_per_device:,.0f}",
        f"{t.estimate.mfu:.0%}", gibibytes(t.estimate.peak_bytes)]
       for t in tries],
      ("overrides", "img/s/device", "MFU", "memory"), right=(1, 2, 3))
  print(f"\nBest: {best.overrides or 'the config as it is'}\n")
  print_estimate(best.estimate)
  if args.out:
    print(f"wrote {args.out}")
  return 0


def _table(args: argparse.Namespace, config_words: Sequence[str],
           schedule: str | None) -> int:
  """Prints models x slices; returns 1 if one does not fit."""
  from vit_jax.aot import table, topologies
  from vit_jax.config.find import load_config
  from vit_jax.config.recipes import DATASETS

  slices = args.topologies or table.TOPOLOGIES
  if schedule is not None:
    for name in slices:
      topologies.check_schedule(topologies.parse(name))
  data = DATASETS["imagenet21k"]
  configs = {
      model: load_config([f"--config={table.CONFIG.format(model=model)}",
                          *config_words])
      for model in args.models or table.MODELS}
  estimates = list(table.estimates(
      configs, slices, examples=data.examples,
      num_classes=data.classes, schedule=schedule, note=logs.note))
  rows = [table.row(model, estimate) for model, estimate in estimates]
  if args.out:
    with open(args.out, "w", encoding="utf-8") as file:
      file.write(table.markdown(rows))
  if args.json:
    output.print_json({"rows": [
        {"model": model} | dataclasses.asdict(estimate)
        for model, estimate in estimates]})
  else:
    output.print_table(rows, table.HEADER, right=(2, 4, 5, 6, 7, 8, 9, 10))
    print("\nEstimates of the compiler, nothing was timed.")
  return 0 if all(estimate.fits for _, estimate in estimates) else 1


def _data(
    config: "ConfigDict", args: argparse.Namespace
) -> tuple[int, int]:
  """Returns the number of training images and of classes.

  Those of the flags, else those published for the paper's data sets, else
  those of the data.
  """
  from vit_jax.config.recipes import DATASETS, published_classes
  from vit_jax.data.sources import make_source
  from vit_jax.errors import UserError

  examples = args.examples
  num_classes = (args.num_classes or config.model.num_classes
                 or published_classes(config.data.source))
  published = next((dataset for dataset in DATASETS.values()
                    if dataset.source == config.data.source), None)
  if published is not None:
    return examples or published.examples, num_classes or published.classes
  if examples and num_classes:
    return examples, num_classes
  if config.train.steps and num_classes:
    return config.train.steps, num_classes
  try:
    source = make_source(config.data.source, split=config.data.split,
                         data_dir=config.data.data_dir)
  except UserError as error:
    raise UsageError(
        f"{error}. Without the data, give --examples=N and --num_classes=N"
    ) from None
  return examples or len(source), num_classes or source.num_classes

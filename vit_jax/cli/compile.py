"""Compiles a run for a TPU slice, without a TPU: does it fit, at what cost?

  python -m vit_jax compile --config=configs/pretrain.py:L/16,imagenet21k \\
      --topology=v3-512
  python -m vit_jax compile --config=configs/vit.py:b16,cifar10 \\
      --topology=v5e-8 --auto --out=fastest.flags
  python -m vit_jax compile --table

The train step of that very config, sharded as it would be, goes through the TPU
compiler (pip install 'vit_jax[tpu]') on the CPU of this machine; S/16 takes
about half a minute, H/14 some minutes. Slices are called as in Google Cloud
(v3-512, v5litepod-16, v6e-64, '2x v5e-256' for two joined) or by shape
(v5e:16x16). If it does not fit, what would make it fit is tried: remat, then
accumulation, fsdp, tensor, then several. All figures are the compiler's
estimates and arithmetic on them, not timings: use them to compare, and to find
out about memory, where the compiler is right. Should libtpu die of a stack
overflow (0.0.42.1 does for 7x and 8 pictures a device), `ulimit -s unlimited`
before the command helps."""

import argparse
from collections.abc import Sequence
import dataclasses
from typing import TYPE_CHECKING, Any

from vit_jax.cli import common
from vit_jax.errors import UsageError

if TYPE_CHECKING:
  from ml_collections import ConfigDict

  from vit_jax.aot.estimate import Estimate

HELP = "ask the TPU compiler what a run would take, without a TPU"


def main(argv: Sequence[str]) -> int:
  """Runs the verb; 0 also where the config does not fit: that is an answer."""
  ours, config_words = common.divide(argv)
  args = _parser().parse(ours)
  common.refuse(not args.table and not args.topology,
                "--topology=SLICE is missing, such as v5e-256")
  from vit_jax.aot import topologies

  topologies.set_up_libtpu()  # Before jax looks for devices.
  common.log_to_stderr()
  if args.table:
    return _table(args, config_words)
  from vit_jax.config import schema
  from vit_jax.config.find import load_config

  topology = topologies.parse(args.topology)
  config = schema.resolve(load_config(config_words))
  examples, num_classes = _data(config, args)
  total = schema.total_steps(config, examples)
  known = dict(num_classes=num_classes, total=total)
  if args.auto:
    return _auto(args, config, topology, known)
  return _one(args, config, topology, known)


def _parser() -> common.Parser:
  """Returns the parser of everything but --config and --config.KEY."""
  parser = common.Parser(
      prog=f"{common.program()} compile", description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
  add = parser.add_argument
  add("--topology", metavar="SLICE", help="v2 to 7x, such as v5e-256")
  add("--eval", action="store_true",
      help="also compile the forward pass of an evaluation")
  add("--auto", action="store_true",
      help="search pictures per device x remat x mesh for the most img/s")
  add("--per_device", type=_numbers, default=(), metavar="N,N,...",
      help="with --auto: pictures a device takes at a time (default: the "
      "config's share, a half and a quarter of it, by accumulation)")
  add("--out", metavar="FILE", help="with --auto: write the winning overrides "
      "here, for $(cat FILE); with --table: write it as Markdown")
  add("--no_remedies", action="store_true",
      help="do not look for what would make it fit")
  add("--examples", type=common.positive, metavar="N",
      help="pictures in the training data, where the data are not at hand")
  add("--num_classes", type=common.positive, metavar="N", help="likewise")
  add("--table", action="store_true",
      help="five models on six slices, pre-training at batch 4,096")
  add("--models", type=_names, metavar="M,M,...", help="of the table")
  add("--topologies", type=_names, metavar="S,S,...", help="of the table")
  common.add_json(parser)
  return parser


def _one(args: argparse.Namespace, config: "ConfigDict", topology: Any,
         known: dict[str, int]) -> int:
  """Compiles one config and prints what came of it."""
  from vit_jax.aot.estimate import estimate
  from vit_jax.aot.fit import make_fit

  common.note(f"compiling for {topology.libtpu_name}, {topology.device_count} "
              "devices")
  found = estimate(config, topology, **known)
  remedy = None
  if not found.fits and not args.no_remedies:
    remedy = make_fit(config, topology, **known, note=common.note)
  evaluation = (
      estimate(config, topology, **known, evaluation=True)
      if args.eval else None)
  if args.json:
    common.print_json(dataclasses.asdict(found) | {
        "remedy": None if remedy is None else {
            "overrides": remedy.overrides} | dataclasses.asdict(
                remedy.estimate),
        "eval": evaluation and dataclasses.asdict(evaluation)})
    return 0
  show(found)
  if remedy is not None:
    print(f"\nIt fits with {remedy.overrides}:\n")
    show(remedy.estimate)
  elif not found.fits and not args.no_remedies:
    print("\nNothing that was tried makes it fit; take a larger slice.")
  if evaluation is not None:
    print("\nThe forward pass of an evaluation:\n")
    show(evaluation)
  return 0


def show(found: "Estimate") -> None:
  """Prints an estimate for people."""
  mesh = " x ".join(f"{axis} {size}" for axis, size in found.mesh.items())
  rows = [
      ("slice", f"{found.topology} ({found.libtpu_topology}): {found.chips} "
       f"chips, {found.devices} devices; {mesh}"),
      ("batch", f"{found.batch_size:,}: {_share(found)} a device"),
      ("fits", "yes" if found.fits else
       f"NO: {_gib(found.exceeded_bytes)} too much"),
      ("memory of a device", f"{_gib(found.peak_bytes)} of "
       f"{_gib(found.hbm_bytes)}"),
      ("  parameters", _gib(found.parameter_bytes)),
      ("  optimiser, average", _gib(found.optimizer_bytes))]
  if found.fits:
    rows += [("  activations and the like", _gib(found.temporary_bytes))]
    rows += _pace(found)
  common.print_table(rows)
  if found.fits:
    print("\nEstimates of the compiler, nothing was timed.")


def _pace(found: "Estimate") -> list[tuple[str, str]]:
  """Returns the rows about work and time."""
  traffic = ", ".join(
      f"{total['count']:,.0f} {kind} ({total['wire_bytes'] / 1e6:,.0f} MB)"
      for kind, total in found.collectives.items()) or "none"
  about = "" if found.loops == 1 else " (roughly: with loops)"
  rows = [
      ("FLOPs an image", f"{found.flops_per_image / 1e9:,.1f} G by formula, "
       f"{found.compiler_flops_per_image / 1e9:,.1f} G by the compiler{about}"),
      ("memory traffic", f"{found.bytes_accessed / 1e9:,.1f} GB a step"),
      ("collectives", traffic),
      ("roofline", f"{found.roofline_seconds * 1e3:,.1f} ms: arithmetic "
       f"{found.compute_seconds * 1e3:,.1f}, memory "
       f"{found.memory_seconds * 1e3:,.1f}, network "
       f"{found.network_seconds * 1e3:,.1f}"),
      ("a step", f"{found.estimated_step_seconds * 1e3:,.1f} ms "
       f"({found.estimated_cycles / 1e6:,.1f} M cycles and the network)"
       if not found.unknown_operations else
       f"{found.roofline_seconds * 1e3:,.1f} ms or more: the compiler has no "
       f"estimate for {found.unknown_operations:,} operations"),
      ("pace", f"{found.images_per_second:,.0f} img/s, "
       f"{found.images_per_second_per_device:,.0f} a device, MFU "
       f"{found.mfu:.1%}")]
  if found.steps is not None:
    paper = ("" if found.paper_core_days is None else
             f"; the paper took {found.paper_core_days:,.0f} on TPUv3")
    rows.append((
        "whole run", f"{found.steps:,} steps in {found.days:,.2f} days, "
        f"{found.core_days:,.1f} core-days{paper}"))
  return [*rows, ("compiled in", f"{found.compile_seconds:.0f} s")]


def _auto(args: argparse.Namespace, config: "ConfigDict", topology: Any,
          known: dict[str, int]) -> int:
  """Searches, prints the best few and writes the winner."""
  from vit_jax.aot.fit import search

  tries = search(config, topology, **known, per_device=args.per_device,
                 note=common.note)
  best = tries[0]
  if args.out:
    with open(args.out, "w", encoding="utf-8") as file:
      file.write(best.overrides + "\n")
  if args.json:
    common.print_json(dataclasses.asdict(best.estimate) | {
        "overrides": best.overrides,
        "tries": [{"overrides": t.overrides,
                   "images_per_second_per_device":
                       t.estimate.images_per_second_per_device,
                   "peak_bytes": t.estimate.peak_bytes} for t in tries]})
    return 0
  common.print_table(
      [[t.overrides or "(the config as it is)",
        f"{t.estimate.images_per_second_per_device:,.0f}",
        f"{t.estimate.mfu:.0%}", _gib(t.estimate.peak_bytes)] for t in tries],
      ("overrides", "img/s/device", "MFU", "memory"), right=(1, 2, 3))
  print(f"\nBest: {best.overrides or 'the config as it is'}\n")
  show(best.estimate)
  if args.out:
    print(f"wrote {args.out}")
  return 0


def _table(args: argparse.Namespace, extra: Sequence[str]) -> int:
  """Prints models x slices; 1 if one does not fit."""
  from vit_jax.aot import table
  from vit_jax.config.find import load_config
  from vit_jax.config.recipes import DATASETS

  data = DATASETS["imagenet21k"]
  configs = {
      model: load_config([f"--config={table.CONFIG.format(model=model)}",
                          *extra])
      for model in args.models or table.MODELS}
  found = list(table.estimates(
      configs, args.topologies or table.TOPOLOGIES, examples=data.examples,
      num_classes=data.classes, note=common.note))
  rows = [table.row(model, one) for model, one in found]
  if args.out:
    with open(args.out, "w", encoding="utf-8") as file:
      file.write(table.markdown(rows))
  if args.json:
    common.print_json({"rows": [
        {"model": model} | dataclasses.asdict(one) for model, one in found]})
  else:
    common.print_table(rows, table.HEADER, right=(2, 4, 5, 6, 7, 8, 9, 10))
    print("\nEstimates of the compiler, nothing was timed.")
  return 0 if all(one.fits for _, one in found) else 1


def _data(
    config: "ConfigDict", args: argparse.Namespace
) -> tuple[int, int]:
  """Returns the number of training pictures and of classes.

  As told, else as published for the paper's data sets, else from the data.
  """
  from vit_jax.config.recipes import DATASETS
  from vit_jax.data.sources import make_source
  from vit_jax.errors import UserError

  examples, classes = args.examples, config.model.num_classes
  classes = args.num_classes or classes
  known = next((d for d in DATASETS.values()
                if d.source == config.data.source), None)
  if known is not None:
    return examples or known.examples, classes or known.classes
  if examples and classes:
    return examples, classes
  if config.train.steps and classes:
    return config.train.steps, classes
  try:
    source = make_source(config.data.source, split=config.data.split,
                         data_dir=config.data.data_dir)
  except UserError as error:
    raise UsageError(
        f"{error}. Without the data, give --examples=N and --num_classes=N"
    ) from None
  return examples or len(source), classes or source.num_classes


def _share(found: "Estimate") -> str:
  ways = found.mesh["data"] * found.mesh["fsdp"] * found.accumulate
  parts = f", {found.accumulate} times" if found.accumulate > 1 else ""
  return f"{found.batch_size // ways}{parts}"


def _gib(count: int) -> str:
  return f"{count / 2**30:.2f} GiB"


def _names(text: str) -> tuple[str, ...]:
  return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> tuple[int, ...]:
  try:
    return tuple(common.positive(part) for part in _names(text))
  except argparse.ArgumentTypeError as error:
    raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None

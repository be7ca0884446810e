"""Measures pace and memory over models and input sizes, as in Figure 12.

  python -m vit_jax benchmark --out=speed.json --figure=figure12.png
  python -m vit_jax benchmark --models=B/16,L/16 --sizes=224,384 --what=train
  python -m vit_jax benchmark --models=H/14 --sizes=224 --what=train \\
      --config.model.remat=dots --config.mesh.fsdp=8
  python -m vit_jax benchmark --from=speed.json --figure=figure12.png
  python -m vit_jax benchmark --topology=v3-8 --models=B/16,R50x1

For each model at each input size the batch is doubled until the device is out
of memory: the table has the peak number of pictures a second and device, and
the largest batch a device takes. A batch size is timed in five windows; the
median counts, slowest and fastest stand beside it. Compiling and bringing
pictures to the devices are not timed. The batch is split over all devices of
this machine; MFU is against the peak at 16 bits, by formula. On a GPU,
XLA_PYTHON_CLIENT_MEM_FRACTION says how much memory there is (default: 0.75).
A picture that is not whole patches (H/14 at 64) loses its last rows and
columns, as everywhere in vit_jax. --out is written anew after every line of
the table, so that Ctrl-C loses little.

With --topology nothing is timed: the TPU compiler says what fits a device of
that slice, and estimates the pace, on any machine."""

import argparse
import ast
from collections.abc import Iterator, Mapping, Sequence
import datetime
import pathlib
from typing import TYPE_CHECKING, Any

from vit_jax.cli import common
from vit_jax.errors import UsageError

if TYPE_CHECKING:
  from ml_collections import ConfigDict

  from vit_jax.benchmark.record import BenchmarkRecord, ModelCurve

HELP = "images a second and largest batch over input sizes (Figure 12)"
MODELS = ("R50x1", "R50x2", "R152x4", "B/32", "B/16", "L/32", "L/16", "H/14")
SIZES = (64, 128, 224, 384, 512)
# A CPU's memory ends in swap and not in an error.
MAX_BATCH = {"cpu": 64, "other": 4096}
HEADER = ("model", "size", "img/s/device", "slowest..fastest", "at batch",
          "MFU", "largest batch")
FIGURES = (".png", ".pdf", ".svg")
# Config keys that the benchmark goes through itself, and its own words.
SWEPT = {
    "model.variant": "--models", "data.image_size": "--sizes",
    "data.batch_size": "--batches", "train.accumulate": "--batches",
    "train.steps": "--steps", "train.epochs": "--steps"}


def main(argv: Sequence[str]) -> int:
  """Runs the verb."""
  ours, config_words = common.divide(argv)
  args = _parser().parse(ours)
  _check(args, config_words)
  common.log_to_stderr()
  if args.topology:
    from vit_jax.aot import topologies

    topologies.set_up_libtpu()  # Before jax looks for devices.
  from vit_jax.benchmark.record import read_benchmark, to_json, write_benchmark

  if args.record:
    record = read_benchmark(args.record)
    if args.out:
      write_benchmark(record, args.out)
  else:
    record = _measure(args, _changes(args, config_words))
  if args.figure:
    from vit_jax.benchmark.plot import write_figure

    write_figure(record, args.figure)
  if args.json:
    common.print_json(to_json(record) | {"figure": args.figure})
    return 0
  show(record)
  for path in filter(None, (args.out, args.figure)):
    print(f"wrote {path}")
  return 0


def show(record: "BenchmarkRecord") -> None:
  """Prints a record for people."""
  memory = (f" of {record.memory_bytes / 2**30:.1f} GiB"
            if record.memory_bytes else "")
  what = {"forward": "Forward pass", "train": "Train step"}[record.what]
  print(f"{what} on {record.where}{memory}: {record.dtype}, attention "
        f"{record.attention}, jax {record.versions.get('jax', '?')}, "
        f"{record.date}")
  for key, value in record.changes.items():
    print(f"  {key}={value}")
  print()
  common.print_table([_row(curve) for curve in record.curves], HEADER,
                     right=(1, 2, 3, 4, 5))


def _row(curve: "ModelCurve") -> list[str]:
  """Returns the cells under HEADER."""
  cells, peak = [curve.model, f"{curve.image_size}"], curve.peak
  if peak is None:
    return [*cells, "", "", "", "", f"{curve.exceeded:,} does not fit"]
  largest = (f"{curve.largest_batch:,} or more" if curve.exceeded is None else
             f"{curve.largest_batch:,} ({curve.exceeded:,} does not fit)")
  return [
      *cells, _pace(peak.images_per_second_per_device),
      f"{_pace(peak.slowest)}..{_pace(peak.fastest)}" if peak.steps else "",
      f"{peak.batch_per_device:,}",
      "" if peak.mfu is None else f"{peak.mfu:.1%}", largest]


def _pace(value: float) -> str:
  return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"


def _measure(
    args: argparse.Namespace, changes: dict[str, Any]
) -> "BenchmarkRecord":
  """Measures, or lets the compiler estimate, what the arguments ask for."""
  from vit_jax.benchmark.record import write_benchmark

  config = _configure(changes)
  record, curves = (_compiled if args.topology else _timed)(
      args, config, changes)
  with common.each_warning_once(), common.stdout_is_stderr():
    for curve in curves:
      record.curves.append(curve)
      if args.out:
        write_benchmark(record, args.out)
  common.refuse(not record.curves,
                "nothing could be measured; the lines above say why")
  return record


def _timed(
    args: argparse.Namespace, config: "ConfigDict", changes: dict[str, Any]
) -> tuple["BenchmarkRecord", Iterator["ModelCurve"]]:
  """Returns the empty record of this machine, and what will fill it."""
  import jax

  from vit_jax.benchmark import timed
  from vit_jax.benchmark.record import BenchmarkRecord
  from vit_jax.devices.compilation import enable_cache
  from vit_jax.models.variants import compute_dtype
  from vit_jax.training.workdir import environment

  enable_cache()
  here, device = environment(), jax.local_devices()[0]
  record = BenchmarkRecord(
      what=args.what or "forward", date=datetime.date.today().isoformat(),
      device=here["device"], devices=here["devices"],
      memory_bytes=(device.memory_stats() or {}).get("bytes_limit"),
      versions=here["versions"],
      dtype=compute_dtype(config.model.dtype).__name__,
      attention=config.model.attention, changes=changes,
      steps=args.steps or 10, seconds=args.seconds or 2.0)
  return record, timed.measure(
      config, args.models or MODELS, args.sizes or SIZES,
      batches=_batches(args, device.platform), what=record.what,
      steps=record.steps, seconds=record.seconds, note=common.note)


def _compiled(
    args: argparse.Namespace, config: "ConfigDict", changes: dict[str, Any]
) -> tuple["BenchmarkRecord", Iterator["ModelCurve"]]:
  """Returns the empty record of a slice, and what will fill it."""
  # No cache: a program for a device that is not there cannot be read back.
  from vit_jax.aot import topologies
  from vit_jax.benchmark.compiled import estimate_curves
  from vit_jax.benchmark.record import BenchmarkRecord
  from vit_jax.training.workdir import environment

  topology = topologies.parse(args.topology)
  record = BenchmarkRecord(
      what=args.what or "forward", date=datetime.date.today().isoformat(),
      device=f"{topology.name} (estimates of the compiler)",
      devices=topology.device_count, memory_bytes=topology.hbm_bytes,
      versions=environment()["versions"],
      dtype="bfloat16" if config.model.dtype == "auto" else config.model.dtype,
      attention=config.model.attention, changes=changes, steps=0, seconds=0.0)
  return record, estimate_curves(
      config, args.models or MODELS, args.sizes or SIZES,
      batches=_batches(args, "tpu"), topology=topology, what=record.what,
      note=common.note)


def _batches(args: argparse.Namespace, platform: str) -> list[int]:
  """Returns the batches per device that are tried."""
  most = args.max_batch or MAX_BATCH["cpu" if platform == "cpu" else "other"]
  return args.batches or [2**i for i in range(most.bit_length())]


def _configure(changes: Mapping[str, Any]) -> "ConfigDict":
  """Returns the default config with the changes ("section.key" -> value)."""
  from vit_jax.config import schema

  config = schema.default_config()
  for name, value in changes.items():
    common.refuse(name in SWEPT, f"config.{name} is what the benchmark goes "
                  f"through; use {SWEPT.get(name)}")
    section, _, key = name.rpartition(".")
    if section not in config or key not in config[section]:
      raise UsageError(schema.unknown_key_message(name))
    try:
      config[section][key] = value
    except (TypeError, ValueError) as error:
      raise UsageError(f"config.{name}={value!r}: {error}") from None
  # Longer than any warm-up; the pace does not depend on it.
  config.train.steps = 1_000_000
  return schema.resolve(config)


def _changes(args: argparse.Namespace, words: Sequence[str]) -> dict[str, Any]:
  """Returns the config keys that the command line changes."""
  changes: dict[str, Any] = {}
  rest = iter(words)
  for word in rest:
    name, equals, text = word.partition("=")
    text = text if equals else next(rest)
    try:
      value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
      value = text
    changes[name.lstrip("-").removeprefix("config.")] = value
  chosen = {"model.dtype": args.dtype, "model.attention": args.attention}
  return changes | {k: v for k, v in chosen.items() if v}


def _check(args: argparse.Namespace, words: Sequence[str]) -> None:
  """Refuses what cannot be, before anything is measured."""
  common.refuse(
      any(w.partition("=")[0] in ("--config", "-config") for w in words),
      "the benchmark takes no --config=FILE; --models says what is measured, "
      "and --config.KEY=VALUE changes a key of the defaults")
  if args.record:
    given = [name for name in (
        "models", "sizes", "batches", "max_batch", "steps", "seconds", "what",
        "dtype", "attention", "topology") if getattr(args, name)]
    common.refuse(given or words, "--from shows what was measured then; leave "
                  f"out {' '.join([*(f'--{n}' for n in given), *words])}")
  common.refuse(
      args.topology and (args.steps or args.seconds is not None),
      "--topology times nothing; leave out --steps and --seconds")
  common.refuse(args.batches and args.max_batch,
                "--batches says them all; leave out --max_batch")
  common.refuse(args.seconds is not None and not 0 < args.seconds < 1e9,
                f"--seconds={args.seconds} must be positive")
  for path in filter(None, (args.out, args.figure)):
    folder = pathlib.Path(path).parent
    common.refuse(not folder.is_dir(), f"{path}: there is no folder {folder}")
  common.refuse(args.figure and not args.figure.endswith(FIGURES),
                f"--figure={args.figure} must end in {', '.join(FIGURES)}")


def _parser() -> common.Parser:
  """Returns the parser of everything but --config.KEY."""
  parser = common.Parser(
      prog=f"{common.program()} benchmark", description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
      epilog="--config.KEY=VALUE changes a key of the config, such as "
      "--config.model.scan=True.")
  add = parser.add_argument
  add("--models", type=_names, metavar="M,M,...",
      help=f"any that `train` knows (default: {','.join(MODELS)})")
  add("--sizes", type=_numbers, metavar="N,N,...", help="sides of the pictures "
      f"in pixels (default: {','.join(map(str, SIZES))})")
  add("--what", choices=("forward", "train"), help="pictures to logits "
      "(default), or a whole update")
  add("--batches", type=_numbers, metavar="N,N,...",
      help="pictures per device (default: 1, 2, 4, ...)")
  add("--max_batch", type=common.positive, metavar="N", help="the last of them "
      f"(default: {MAX_BATCH['other']:,}; {MAX_BATCH['cpu']} on a CPU)")
  add("--steps", type=common.positive, metavar="N",
      help="timed for a batch size, at least (default: 10)")
  add("--seconds", type=float, metavar="S",
      help="for which a batch size is timed, about (default: 2)")
  add("--topology", metavar="SLICE",
      help="estimate for a TPU slice, such as v3-8; nothing is timed")
  add("--dtype", metavar="DTYPE", help="auto, bfloat16, float16 or float32")
  add("--attention", metavar="NAME", help="auto, einsum, einsum_f32 or cudnn")
  add("--out", metavar="FILE", help="write the record here, as JSON")
  add("--figure", metavar="FILE.png", help="draw Figure 12 here")
  add("--from", dest="record", metavar="FILE",
      help="show and draw this record; nothing is measured")
  common.add_json(parser)
  return parser


def _names(text: str) -> list[str]:
  return list(dict.fromkeys(p.strip() for p in text.split(",") if p.strip()))


def _numbers(text: str) -> list[int]:
  return sorted({common.positive(part) for part in _names(text)})

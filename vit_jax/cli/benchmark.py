"""Measures speed and memory over models and image sizes, as in Figure 12.

  python -m vit_jax benchmark --out=speed.json --figure=figure12.png
  python -m vit_jax benchmark --models=B/16,L/16 --sizes=224,384 --what=train
  python -m vit_jax benchmark --models=H/14 --sizes=224 --what=train \\
      --config.model.remat=dots --config.mesh.fsdp=8
  python -m vit_jax benchmark --from=speed.json --figure=figure12.png
  python -m vit_jax benchmark --topology=v3-8 --models=B/16,R50x1
  python -m vit_jax benchmark --peers=timm --models=S/16,B/16 --batches=8
  python -m vit_jax benchmark --peers=tf.data
  python -m vit_jax benchmark --growth=Ti/16 --topology=v5e-1 --figure=cost.png

For each model at each image size the batch is doubled until the device is out
of memory. The table has the peak number of images per second and device, and
the largest batch per device. A batch size is timed in five windows; the median
counts, slowest and fastest stand beside it. Compiling and copying images to the
devices are not timed. The batch is split over all devices of this machine; MFU
is relative to the peak at 16 bits, by formula. On a GPU,
XLA_PYTHON_CLIENT_MEM_FRACTION sets the share of memory (default: 0.75). If an
image is not a whole number of patches (H/14 at 64), its last rows and columns
are dropped, as everywhere in vit_jax. --out is rewritten after every line of
the table, so that Ctrl-C loses little.

With --topology nothing is timed: the TPU compiler estimates what fits a device
of that slice, and how fast it is, on any machine.

--peers=timm compares inference and an update by SGD with timm's, in float32 at
224x224, and with what XLA's matrix products alone would allow; --peers=official
--clone=FOLDER with the official code's networks. --peers=tf.data compares
reading JPEG files with tf.data, Pillow and bare decoding, and --peers=disk
reading weights (of L/16, or --models) with the disk alone. Contestants take
turns (--steps of each, 7 by default), and ratios are formed within a turn.

--growth times updates of one model at 1 to 64 images, 50 to 2,305 tokens and 1
to 48 blocks, and prints the powers with which time and memory grow beside those
of the formulas; with --topology also as the TPU compiler estimates them."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
import datetime
import pathlib
from typing import TYPE_CHECKING, Any

from vit_jax.cli import arguments, logs, output
from vit_jax.cli.benchmark_growth import run_growth
from vit_jax.cli.benchmark_peers import PEERS, run_peers
from vit_jax.cli.benchmark_table import print_record
from vit_jax.errors import UsageError

if TYPE_CHECKING:
  from ml_collections import ConfigDict

  from vit_jax.benchmark.record import BenchmarkRecord, ModelCurve

MODELS = ("R50x1", "R50x2", "R152x4", "B/32", "B/16", "L/32", "L/16", "H/14")
SIZES = (64, 128, 224, 384, 512)
# On a CPU, too large a batch ends in swapping and not in an error.
MAX_BATCH = {"cpu": 64, "other": 4096}
FIGURES = (".png", ".pdf", ".svg")
# Config keys that the benchmark varies itself, and its own flags for them.
SWEPT = {
    "model.variant": "--models", "data.image_size": "--sizes",
    "data.batch_size": "--batches", "train.accumulate": "--batches",
    "train.steps": "--steps", "train.epochs": "--steps"}


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  numbers = arguments.list_of(arguments.positive)
  add("--models", type=arguments.list_of(str), metavar="M,M,...",
      help=f"any that `train` knows (default: {','.join(MODELS)})")
  add("--sizes", type=numbers, metavar="N,N,...", help="sides of the images in "
      f"pixels (default: {','.join(map(str, SIZES))})")
  add("--what", choices=("forward", "train"), help="images to logits "
      "(default), or a whole update")
  add("--batches", type=numbers, metavar="N,N,...",
      help="images per device (default: 1, 2, 4, ...)")
  add("--max_batch", type=arguments.positive, metavar="N", help="the last of "
      f"them (default: {MAX_BATCH['other']:,}; {MAX_BATCH['cpu']} on a CPU)")
  add("--steps", type=arguments.positive, metavar="N",
      help="least number of steps timed per batch size (default: 10)")
  add("--seconds", type=arguments.number, metavar="S",
      help="least time per batch size, about (default: 2)")
  add("--topology", metavar="SLICE",
      help="estimate for a TPU slice, such as v3-8; nothing is timed")
  add("--dtype", metavar="DTYPE", help="auto, bfloat16, float16 or float32")
  add("--attention", metavar="NAME",
      help="auto, einsum, einsum_f32, cudnn or fused")
  add("--peers", choices=PEERS,
      help="compare with others on this machine instead, in turns")
  add("--clone", metavar="FOLDER",
      help="of google-research/vision_transformer, for --peers=official")
  add("--growth", metavar="MODEL", help="how an update of a ViT with patches "
      "of 16x16, such as Ti/16, grows with batch, tokens and depth instead")
  add("--out", metavar="FILE", type=arguments.output_path,
      help="write the record here, as JSON")
  add("--figure", metavar="FILE.png", type=arguments.output_path,
      help="draw Figure 12 here")
  add("--from", dest="record", metavar="FILE",
      help="show and draw this record; nothing is measured")
  arguments.add_config(parser, file=False)
  arguments.add_json(parser)


def run(args: argparse.Namespace) -> int:
  """Measures or reads a record; prints it and draws the figure."""
  if args.peers and args.growth:
    raise UsageError("--peers and --growth are two benchmarks; give one")
  if args.peers:
    return run_peers(args)
  if args.clone:
    raise UsageError("--clone belongs to --peers=official")
  _check(args)
  if args.growth:
    return run_growth(args)
  logs.starting("reading a record" if args.record else "starting to measure")
  if args.topology:
    from vit_jax.aot import topologies

    topologies.set_up_libtpu()  # Before jax looks for devices.
  from vit_jax.benchmark.record import read_benchmark, to_json, write_benchmark

  if args.record:
    record = read_benchmark(args.record)
    if args.out:
      write_benchmark(record, args.out)
  else:
    record = _measure(args, _changes(args))
  if args.figure:
    from vit_jax.benchmark.plot import write_figure

    write_figure(record, args.figure)
  if args.json:
    output.print_json(to_json(record) | {"figure": args.figure})
    return 0
  print_record(record)
  for path in filter(None, (args.out, args.figure)):
    print(f"wrote {path}")
  return 0


def _measure(
    args: argparse.Namespace, changes: dict[str, Any]
) -> "BenchmarkRecord":
  """Measures what the arguments ask for, or lets the compiler estimate it."""
  from vit_jax.benchmark.record import write_benchmark

  config = _configure(changes)
  record, curves = (_compiled if args.topology else _timed)(
      args, config, changes)
  with logs.each_warning_once(), output.stdout_is_stderr():
    for curve in curves:
      record.curves.append(curve)
      if args.out:
        write_benchmark(record, args.out)
  if not record.curves:
    raise UsageError("nothing could be measured; see the lines above")
  return record


def _timed(
    args: argparse.Namespace, config: "ConfigDict", changes: dict[str, Any]
) -> tuple["BenchmarkRecord", Iterator["ModelCurve"]]:
  """Returns this machine's record without curves, and the curves to come."""
  import jax

  from vit_jax.benchmark import timed
  from vit_jax.benchmark.record import BenchmarkRecord
  from vit_jax.devices.compilation import enable_cache
  from vit_jax.models.variants import compute_dtype
  from vit_jax.training.workdir import environment

  enable_cache()
  machine, device = environment(), jax.local_devices()[0]
  record = BenchmarkRecord(
      what=args.what or "forward", date=datetime.date.today().isoformat(),
      device=machine["device"], devices=machine["devices"],
      memory_bytes=(device.memory_stats() or {}).get("bytes_limit"),
      versions=machine["versions"],
      dtype=compute_dtype(config.model.dtype).__name__,
      attention=config.model.attention, changes=changes,
      steps=args.steps or 10, seconds=args.seconds or 2.0)
  return record, timed.measure(
      config, *_models_and_sizes(args),
      batches=_batches(args, device.platform), what=record.what,
      steps=record.steps, seconds=record.seconds, note=logs.note)


def _compiled(
    args: argparse.Namespace, config: "ConfigDict", changes: dict[str, Any]
) -> tuple["BenchmarkRecord", Iterator["ModelCurve"]]:
  """Returns a slice's record without curves, and the curves to come."""
  # Without the compilation cache: a program for absent devices cannot be read.
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
      config, *_models_and_sizes(args),
      batches=_batches(args, "tpu"), topology=topology, what=record.what,
      note=logs.note)


def _batches(args: argparse.Namespace, platform: str) -> list[int]:
  """Returns the batches per device to try, in increasing order."""
  largest = args.max_batch or MAX_BATCH["cpu" if platform == "cpu" else "other"]
  return sorted(set(args.batches or ())) or [
      2**i for i in range(largest.bit_length())]


def _configure(changes: Mapping[str, Any]) -> "ConfigDict":
  """Returns the default config with the changes ("section.key" -> value)."""
  from vit_jax.config import schema

  for name in changes:
    if name in SWEPT:
      raise UsageError(f"config.{name} is varied by the benchmark; use "
                       f"{SWEPT[name]}")
  # Longer than any warm-up; the speed does not depend on it.
  return schema.changed({"train.steps": 1_000_000, **changes})


def _changes(args: argparse.Namespace) -> dict[str, Any]:
  """Returns the config keys that the command line changes, by "section.key"."""
  chosen = {"model.dtype": args.dtype, "model.attention": args.attention}
  return arguments.config_changes(args.config_words) | {
      k: v for k, v in chosen.items() if v}


def _models_and_sizes(
    args: argparse.Namespace
) -> tuple[Sequence[str], Sequence[int]]:
  """Returns the models, and the sizes in increasing order, each once."""
  models = tuple(dict.fromkeys(args.models or ())) or MODELS
  return models, sorted(set(args.sizes or SIZES))


def _check(args: argparse.Namespace) -> None:
  """Raises UsageError for flags that contradict each other."""
  if any(word.partition("=")[0] in ("--config", "-config")
         for word in args.config_words):
    raise UsageError(
        "the benchmark takes no --config=FILE; --models chooses what is "
        "measured, and --config.KEY=VALUE changes a key of the defaults")
  given = [f"--{name}" for name in (
      "models", "sizes", "batches", "max_batch", "steps", "seconds", "what",
      "dtype", "attention", "topology") if getattr(args, name)]
  if args.record and (given or args.config_words):
    raise UsageError("--from shows what was measured then; leave out "
                     f"{' '.join([*given, *args.config_words])}")
  if args.topology and not args.growth and (
      args.steps or args.seconds is not None):
    raise UsageError("--topology times nothing; leave out --steps and "
                     "--seconds")
  if args.batches and args.max_batch:
    raise UsageError("--batches lists every batch size; leave out --max_batch")
  if args.seconds is not None and not 0 < args.seconds < 1e9:
    raise UsageError(f"--seconds={args.seconds} must be positive")
  for path in filter(None, (args.out, args.figure)):
    folder = pathlib.Path(path).parent
    if not folder.is_dir():
      raise UsageError(f"{path}: there is no folder {folder}")
  if args.figure and not args.figure.endswith(FIGURES):
    raise UsageError(f"--figure={args.figure} must end in {', '.join(FIGURES)}")

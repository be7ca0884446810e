"""benchmark --peers: our pace beside that of others, as a table or JSON."""

import argparse
from collections.abc import Sequence
import dataclasses
import datetime
import json
from typing import TYPE_CHECKING, Any

from vit_jax.cli import logs, output
from vit_jax.errors import UsageError

if TYPE_CHECKING:
  from vit_jax.benchmark.input_pace import InputPace
  from vit_jax.benchmark.peers import Comparison

PEERS = ("timm", "official", "tf.data", "disk")
MODELS = ("S/16", "B/16")
BATCH = 8
TURNS = 7
_WORK = {"forward": "inference", "train": "SGD step"}


@dataclasses.dataclass(frozen=True)
class _Answer:
  """What was compared: for the record, and as a table of numbers.

  Attributes:
    record: the comparison's part of it.
    heading: above the table.
    names: of the columns that are no numbers, the first ones.
    numbers: of the others.
    rows: by column.
  """

  record: dict[str, Any]
  heading: str
  names: Sequence[str]
  numbers: Sequence[str]
  rows: list[list[str]]


def run_peers(args: argparse.Namespace) -> int:
  """Compares, and prints the table.

  Raises:
    UsageError: a flag that belongs to another benchmark, or the peer is
      missing.
  """
  _check(args)
  logs.starting("starting to compare")
  from vit_jax.training.workdir import environment
  from vit_jax.weights.formats.atomic import write_whole

  compare = {"tf.data": _input, "disk": _reading}.get(args.peers, _networks)
  with output.stdout_is_stderr():
    answer = compare(args)
  record = environment() | {
      "date": datetime.date.today().isoformat()} | answer.record
  if args.out:
    write_whole(args.out, (json.dumps(record, indent=2) + "\n").encode())
  if args.json:
    output.print_json(record)
    return 0
  print(f"{answer.heading}\n")
  columns = (*answer.names, *answer.numbers)
  output.print_table(
      answer.rows, columns, right=range(len(answer.names), len(columns)))
  return 0


def _check(args: argparse.Namespace) -> None:
  """Raises UsageError for flags of other benchmarks."""
  fixed = ["sizes", "max_batch", "seconds", "what", "dtype", "attention",
           "topology", "figure", "record"]
  fixed += {"tf.data": ["models", "batches"], "disk": ["batches"]}.get(
      args.peers, [])
  for name in fixed:
    if getattr(args, name):
      raise UsageError(f"--peers={args.peers} compares at 224x224; leave out "
                       f"--{'from' if name == 'record' else name}")
  if args.config_words or len(args.batches or ()) > 1:
    raise UsageError("--peers takes one of --batches, and no --config.KEY")
  if bool(args.clone) != (args.peers == "official"):
    raise UsageError(
        "--clone=FOLDER, a clone of google-research/vision_transformer, "
        "belongs to --peers=official")


def _networks(args: argparse.Namespace) -> _Answer:
  from vit_jax.benchmark import peers
  from vit_jax.benchmark.official import official_peer

  models = list(args.models or MODELS)
  peers.check_models(models)
  peer = official_peer(args.clone) if args.clone else peers.timm_peer()
  batch = args.batches[0] if args.batches else BATCH
  found = list(peers.compare(
      peer, models, batch, args.steps or TURNS, logs.note))
  return _Answer(
      {"batch": batch, "comparisons": [vars(one) for one in found]},
      f"224x224, float32, batch {batch}, median of {len(found[0].ours)} turns",
      ("model", "work"),
      ("img/s", peer.name, "ratio", "lowest..highest", "products alone",
       "their share"), [_network_row(one) for one in found])


def _network_row(one: "Comparison") -> list[str]:
  return [one.model, _WORK[one.work], f"{one.pace(one.ours):.2f}",
          f"{one.pace(one.theirs):.2f}", *_ratio(one.ratio),
          f"{one.pace(one.products):.2f}", f"{one.share:.0%}"]


def _input(args: argparse.Namespace) -> _Answer:
  from vit_jax.benchmark import input_pace
  from vit_jax.data.workers import processors

  files = input_pace.make_files()
  logs.note("crops, in turns")
  found = input_pace.compare_input(files, args.steps or TURNS)
  cores, loader = processors(), {}
  for workers in (0, cores):
    logs.note(f"the loader, {workers} worker processes")
    loader[str(workers)] = input_pace.loader_pace(
        files, workers=workers, threads=cores)
  ours = found[0]
  return _Answer(
      {"input": [vars(one) for one in found], "loader": loader},
      f"JPEG 500x375, quality 90 -> {input_pace.SIZE}x{input_pace.SIZE}; "
      f"images a second of one core, median of {len(ours.seconds)} turns.\n"
      f"The loader on {cores} processors: {loader['0']:.0f} images a second "
      f"of the clock by threads, {loader[str(cores)]:.0f} by {cores} worker "
      "processes.",
      ("input",), ("img/s", "ms", "ours is", "lowest..highest"),
      [_input_row(ours, one) for one in found])


def _input_row(ours: "InputPace", one: "InputPace") -> list[str]:
  ratio = ["", ""] if one is ours else _ratio(ours.ratio(one))
  return [one.name, f"{one.pace:.0f}", f"{1000 / one.pace:.2f}", *ratio]


def _reading(args: argparse.Namespace) -> _Answer:
  import pathlib
  import tempfile

  from vit_jax.benchmark import peers
  from vit_jax.benchmark.reading import compare_reading

  models = args.models or ("L/16",)
  peers.check_models(models)
  if len(models) > 1:
    raise UsageError("--peers=disk takes one of --models")
  with tempfile.TemporaryDirectory(prefix="vit_jax_") as folder:
    found = compare_reading(
        models[0], pathlib.Path(folder), args.steps or TURNS, logs.note)
  return _Answer(
      {"model": models[0], "reading": [vars(one) for one in found]},
      f"{models[0]}, float32, read from the disk of {tempfile.gettempdir()}; "
      f"MB a second, median of {len(found[0].ours)} turns",
      ("file",), ("MB", "ours", "disk alone", "ratio", "lowest..highest"),
      [[one.name, f"{one.bytes / 1e6:,.0f}", f"{one.pace(one.ours) / 1e6:,.0f}",
        f"{one.pace(one.disk) / 1e6:,.0f}", *_ratio(one.ratio)]
       for one in found])


def _ratio(ratio: tuple[float, float, float]) -> list[str]:
  median, low, high = ratio
  return [f"{median:.2f}", f"{low:.2f}..{high:.2f}"]

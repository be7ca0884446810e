"""benchmark --peers: our pace beside timm's, as a table or JSON."""

import argparse
import datetime
import json
from typing import TYPE_CHECKING

from vit_jax.cli import logs, output
from vit_jax.errors import UsageError

if TYPE_CHECKING:
  from vit_jax.benchmark.peers import Comparison

MODELS = ("S/16", "B/16")
BATCH = 8
TURNS = 7


def run_peers(args: argparse.Namespace) -> int:
  """Compares, and prints the table.

  Raises:
    UsageError: a flag that belongs to another benchmark, or timm is missing.
  """
  for name in ("sizes", "max_batch", "seconds", "what", "dtype", "attention",
               "topology", "figure", "record"):
    if getattr(args, name):
      raise UsageError(f"--peers compares at 224x224 in float32; leave out "
                       f"--{'from' if name == 'record' else name}")
  if args.config_words or len(args.batches or ()) > 1:
    raise UsageError("--peers takes one of --batches, and no --config.KEY")
  logs.starting("starting to compare")
  from vit_jax.benchmark.peers import compare
  from vit_jax.training.workdir import environment
  from vit_jax.weights.formats.atomic import write_whole

  batch = args.batches[0] if args.batches else BATCH
  with output.stdout_is_stderr():
    found = list(compare(
        list(args.models or MODELS), batch, args.steps or TURNS, logs.note))
  record = environment() | {
      "date": datetime.date.today().isoformat(), "batch": batch,
      "comparisons": [vars(one) for one in found]}
  if args.out:
    write_whole(args.out, (json.dumps(record, indent=2) + "\n").encode())
  if args.json:
    output.print_json(record)
    return 0
  print(f"224x224, float32, batch {batch}, median of {len(found[0].ours)} "
        "turns\n")
  output.print_table([_row(one) for one in found], (
      "model", "work", "img/s", "timm", "ratio", "lowest..highest",
      "products alone", "their share"), right=(2, 3, 4, 5, 6, 7))
  return 0


def _row(one: "Comparison") -> list[str]:
  """Returns a line of the table."""
  ratio, low, high = one.ratio
  work = {"forward": "inference", "train": "SGD step"}[one.work]
  return [one.model, work, f"{one.pace(one.ours):.2f}",
          f"{one.pace(one.theirs):.2f}", f"{ratio:.2f}",
          f"{low:.2f}..{high:.2f}", f"{one.pace(one.products):.2f}",
          f"{one.share:.0%}"]

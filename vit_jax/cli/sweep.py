"""Chooses the learning rate on the dev split, then trains for the score.

  python -m vit_jax sweep --config=configs/vit.py:b16,cifar10 \\
      --workdir=runs/b16-cifar10

As in the paper: every rate is trained without the dev split, the best on dev is
trained on the whole training set with three seeds, and the table shows the mean
and standard deviation of their test accuracy. sweep.json and sweep.md in the
working directory hold it too; each run has a folder of its own there. The same
command again goes on where it stopped; runs that are finished are skipped."""

import argparse
from collections.abc import Sequence

from vit_jax.cli import common

HELP = "choose the learning rate on the dev split, then train with 3 seeds"

def main(argv: Sequence[str]) -> int:
  """Runs the sweep; returns the exit code."""
  ours, config_words = common.divide(argv)
  args = _parser().parse(ours)

  from vit_jax.config.find import load_config
  from vit_jax.devices import distributed
  from vit_jax.devices.compilation import enable_cache
  from vit_jax.errors import EXIT_PREEMPTED
  from vit_jax.experiments.sweep import sweep, sweep_tables
  from vit_jax.main import show_logs

  config = load_config(config_words)
  show_logs()
  enable_cache()
  distributed.initialize(
      coordinator=args.coordinator, num_processes=args.num_processes,
      process_id=args.process_id)
  with common.stdout_is_stderr():
    outcome = sweep(config, args.workdir, rates=args.rates,
                    num_seeds=args.seeds, dev=args.dev)
  if not outcome.finished:
    return EXIT_PREEMPTED
  if not distributed.is_primary():
    return 0
  if args.json:
    common.print_json({
        "rates": outcome.rates, "rate": outcome.rate, "runs": outcome.runs,
        "summary": outcome.summary()})
    return 0
  for i, (header, *rows) in enumerate(sweep_tables(outcome)):
    if i:
      print()
    common.print_table(rows, header, right=(1, 2) if i else (1,))
  return 0


def _parser() -> common.Parser:
  """Returns the parser of everything but --config and --config.KEY."""
  parser = common.Parser(
      prog=f"{common.program()} sweep", description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
      epilog="--config=FILE[:ARGS] and --config.KEY=VALUE are those of "
      "training; the config must hold the dev split out.")
  add = parser.add_argument
  add("--workdir", required=True, metavar="DIR", help="where the runs live")
  add("--rates", type=_rates, default=(), metavar="R,R,...",
      help="rates to try (default: 0.001,0.003,0.01,0.03; for ImageNet "
      "0.003,0.01,0.03,0.06); a single one is taken without trying")
  add("--seeds", type=common.positive, default=3,
      help="final runs (default: 3)")
  add("--dev", default="dev", metavar="NAME",
      help="the config's evaluation on the dev split (default: dev)")
  add("--coordinator", metavar="HOST:PORT", help="as for training")
  add("--num_processes", type=int, help="as for training")
  add("--process_id", type=int, help="as for training")
  common.add_json(parser)
  return parser


def _rates(text: str) -> tuple[float, ...]:
  try:
    return tuple(float(word) for word in text.split(","))
  except ValueError:
    raise argparse.ArgumentTypeError(
        f"{text!r}: numbers such as 0.001,0.01 were expected") from None

"""Chooses the learning rate on the dev split, then trains for the score.

  python -m vit_jax sweep --config=configs/vit.py:b16,cifar10 \\
      --workdir=runs/b16-cifar10

As in the paper: every rate is trained without the dev split, the best on dev is
trained on the whole training set with three seeds, and the table shows the mean
and standard deviation of their test accuracy. The config must hold out the dev
split. sweep.json and sweep.md in the working directory hold the table too, and
each run has a folder of its own there. The same command again resumes; runs
that are finished are skipped."""

import argparse

from vit_jax.cli import arguments, logs, output
from vit_jax.cli.train import join_job
from vit_jax.errors import EXIT_PREEMPTED


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  arguments.add_config(parser)
  add("--workdir", required=True, metavar="DIR", help="where the runs live")
  add("--rates", type=arguments.list_of(arguments.number), default=(),
      metavar="R,R,...",
      help="rates to try (default: 0.001,0.003,0.01,0.03; for ImageNet "
      "0.003,0.01,0.03,0.06); a single one is used without a trial")
  add("--seeds", type=arguments.positive, default=3, metavar="N",
      help="final runs (default: 3)")
  add("--dev", default="dev", metavar="NAME",
      help="the config's evaluation on the dev split (default: dev)")
  arguments.add_processes(parser)
  arguments.add_json(parser)


def run(args: argparse.Namespace) -> int:
  """Runs the sweep; returns 0 or EXIT_PREEMPTED."""
  logs.starting("starting to train")
  from vit_jax.config.find import load_config
  from vit_jax.devices import distributed
  from vit_jax.experiments.sweep import sweep, sweep_tables

  config = load_config(args.config_words)
  join_job(args)
  with output.stdout_is_stderr():
    outcome = sweep(config, args.workdir, rates=args.rates,
                    num_seeds=args.seeds, dev=args.dev)
  if not outcome.finished:
    return EXIT_PREEMPTED
  if not distributed.is_primary():
    return 0
  if args.json:
    output.print_json({
        "rates": outcome.rates, "rate": outcome.rate, "runs": outcome.runs,
        "summary": outcome.summary()})
    return 0
  for i, (header, *rows) in enumerate(sweep_tables(outcome)):
    if i:
      print()
    output.print_table(rows, header, right=(1, 2) if i else (1,))
  return 0


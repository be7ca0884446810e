"""Trains a model, or resumes a run; the same as python -m vit_jax.main.

  python -m vit_jax train --config=configs/quickstart.py --workdir=runs/digits
  python -m vit_jax train --config=configs/vit.py:b16,cifar10 \\
      --workdir=runs/b16-cifar10 --config.data.batch_size=256

The working directory holds config.json, metrics.jsonl and checkpoints/, and at
the end model.npz and report.html. The same command again resumes from the
newest checkpoint; a finished run is left as it is. After SIGTERM or Ctrl-C the
state is saved first; a second Ctrl-C ends the run at once.

Exit codes: 0 done, 1 the work failed, 2 wrong usage, 42 preempted (SIGTERM) and
130 interrupted (Ctrl-C), state saved: run the same command again."""

import argparse

from vit_jax.cli import absl_flags, arguments, logs
from vit_jax.errors import EXIT_PREEMPTED


def add_arguments(parser: arguments.Parser) -> None:
  """Adds the verb's arguments."""
  add = parser.add_argument
  parser.rewrite = absl_flags.rewrite
  arguments.add_config(parser)
  add("--workdir", default="", metavar="DIR",
      help="where the run lives, a folder or gs://..., the same for every "
      "process")
  arguments.add_processes(parser)
  add("--heartbeat_seconds", type=arguments.positive, default=100, metavar="N",
      help="silence of one process after which the whole job stops "
      "(default: 100)")


def run(args: argparse.Namespace) -> int:
  """Trains; returns 0 or EXIT_PREEMPTED."""
  logs.starting("starting to train")
  from vit_jax.config.find import load_config
  from vit_jax.training.loop import train

  config = load_config(args.config_words)
  join_job(args, heartbeat_seconds=args.heartbeat_seconds)
  result = train(config, args.workdir)
  return 0 if result.finished else EXIT_PREEMPTED


def join_job(args: argparse.Namespace, heartbeat_seconds: int = 100) -> None:
  """Shows log lines, and joins the other processes of a training job."""
  import os

  from vit_jax.devices import distributed
  from vit_jax.devices.compilation import enable_cache

  os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
  logs.show_progress()
  enable_cache()
  distributed.initialize(
      coordinator=args.coordinator, num_processes=args.num_processes,
      process_id=args.process_id, heartbeat_seconds=heartbeat_seconds)

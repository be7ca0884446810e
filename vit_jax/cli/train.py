"""Trains a model, or resumes a run; the same as python -m vit_jax.main.

  python -m vit_jax train --config=configs/quickstart.py \\
      --workdir=runs/quickstart
  python -m vit_jax train --config=configs/vit.py:b16,cifar10 \\
      --workdir=runs/b16-cifar10 --config.data.batch_size=256

The working directory holds config.json, metrics.jsonl and checkpoints/, and at
the end model.npz and report.html. The same command again resumes from the
newest checkpoint; a finished run is left as it is. After SIGTERM or Ctrl-C the
state is saved first; a second Ctrl-C ends the run at once.

Exit codes: 0 done, 1 failed and may succeed if repeated, 2 wrong usage, 3 will
fail again (data, checkpoint, divergence, disk), 42 preempted (SIGTERM) and 130
interrupted (Ctrl-C), state saved: run the same command again."""

import argparse
from collections.abc import Iterator
import contextlib
import errno

from vit_jax.cli import absl_flags, arguments, logs
from vit_jax.errors import EXIT_FAILS_AGAIN, EXIT_PREEMPTED, UserError

# Disks do not grow or become writable by a restart.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


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
  with lasting_failures():
    result = train(config, args.workdir)
  return 0 if result.finished else EXIT_PREEMPTED


@contextlib.contextmanager
def lasting_failures() -> Iterator[None]:
  """Gives failures that a restart cannot cure the code EXIT_FAILS_AGAIN.

  What restarts training (launch/) heeds it.
  """
  try:
    yield
  except UserError as error:
    on_disk = getattr(error.__cause__, "errno", None) in _DISK
    if error.exit_code == UserError.exit_code and (
        on_disk or not error.passing):
      error.exit_code = EXIT_FAILS_AGAIN
    raise
  except OSError as error:
    if error.errno not in _DISK:
      raise
    raise _lasting(f"{error.filename or 'the disk'}: {error.strerror}"
                   ) from error
  except RuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    raise _lasting("the device is out of memory; use a smaller batch "
                   f"({str(error).splitlines()[0][:200]})") from error


def _lasting(message: str) -> UserError:
  error = UserError(message)
  error.exit_code = EXIT_FAILS_AGAIN
  return error


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

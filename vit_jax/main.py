"""Trains: python -m vit_jax.main --config=configs/FILE.py[:args] --workdir=DIR.

Any key of the config can be changed on the command line, such as
--config.train.steps=1000. Running the same command again resumes. Exit codes:
0 done, 1 the work failed, 2 wrong usage, 42 stopped by a signal: run it again.
"""

from collections.abc import Sequence
import logging as std_logging
import os
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from vit_jax.config.find import missing_config, parse_flags
from vit_jax.devices import distributed
from vit_jax.devices.compilation import enable_cache
from vit_jax.errors import EXIT_PREEMPTED, UsageError, UserError

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "configs/FILE.py[:args]; --config.KEY=VALUE changes a key.",
    lock_config=True)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory (or gs://...) of the run.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None,
    "host:port of process 0, where no cluster manager sets it.")
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Processes of the job, with --coordinator.")
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "This process, from 0, with --coordinator.")
_HEARTBEAT = flags.DEFINE_integer(
    "heartbeat_seconds", 100,
    "Silence of one process after which the whole job stops.")


def main(_: Sequence[str]) -> int:
  """Runs the training; returns the exit code."""
  from vit_jax.training.loop import train

  if _CONFIG.value is None:
    raise UsageError(missing_config())
  show_logs()
  enable_cache()
  distributed.initialize(
      coordinator=_COORDINATOR.value, num_processes=_NUM_PROCESSES.value,
      process_id=_PROCESS_ID.value, heartbeat_seconds=_HEARTBEAT.value)
  result = train(_CONFIG.value, _WORKDIR.value or "")
  return 0 if result.finished else EXIT_PREEMPTED


def show_logs() -> None:
  """Shows this package's log lines and all warnings, with the time of day."""
  logging.set_verbosity(logging.INFO)
  # app.run does both; the verbs do not use it.
  logging.use_absl_handler()
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
  handler = logging.get_absl_handler()
  handler.setFormatter(std_logging.Formatter(
      "%(asctime)s %(message)s", datefmt="%H:%M:%S"))
  handler.addFilter(
      lambda record: record.levelno >= std_logging.WARNING
      or "vit_jax" in record.pathname)


def run(argv: Sequence[str] | None = None) -> None:
  """Parses flags, runs `main` and exits with its code."""
  os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
  argv = list(sys.argv if argv is None else argv)

  def guarded(remaining: Sequence[str]) -> int:
    try:
      return main(remaining)
    except UserError as error:
      return _fail(error)

  def parse(words: Sequence[str]) -> list[str]:
    try:
      return parse_flags(words)
    except UserError as error:
      sys.exit(_fail(error))

  app.run(guarded, argv=argv, flags_parser=parse)


def _fail(error: UserError) -> int:
  """Prints what a user did wrong in one line; returns the exit code."""
  print(f"vit_jax: error: {error}", file=sys.stderr)
  return error.exit_code


if __name__ == "__main__":
  run()

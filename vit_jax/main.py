"""Trains: python -m vit_jax.main --config=configs/FILE.py[:args] --workdir=DIR.

Any key of the config can be changed on the command line, such as
--config.train.steps=1000. Running the same command again resumes. Exit codes:
0 done, 1 the work failed, 2 wrong usage, 42 told to stop: run it again.
"""

from collections.abc import Sequence
import logging as std_logging
import os
import pathlib
import re
import sys

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from vit_jax import distributed
from vit_jax.compilation import enable_cache
from vit_jax.config import default_config, eval_config, unknown_key_message
from vit_jax.errors import UsageError, UserError, suggest

EXIT_PREEMPTED = 42

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "configs/FILE.py[:args]; --config.KEY=VALUE changes a key.",
    lock_config=True)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory (or gs://...) of the run.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "host:port of process 0, where no cluster tells it.")
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Processes of the job, with --coordinator.")
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "This process, from 0, with --coordinator.")
_HEARTBEAT = flags.DEFINE_integer(
    "heartbeat_seconds", 100,
    "Silence of one process after which the whole job stops.")


def main(_: Sequence[str]) -> int:
  """Runs the training; returns the exit code."""
  from vit_jax.train_loop import train

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
  """Shows our own log lines and everybody's warnings, with the time of day."""
  logging.set_verbosity(logging.INFO)
  # app.run has done both, the verbs have not.
  logging.use_absl_handler()
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
  handler = logging.get_absl_handler()
  handler.setFormatter(std_logging.Formatter(
      "%(asctime)s %(message)s", datefmt="%H:%M:%S"))
  handler.addFilter(
      lambda record: record.levelno >= std_logging.WARNING
      or "vit_jax" in record.pathname)


def shipped_folder() -> pathlib.Path:
  """Returns the folder of the configs that come with the package."""
  here = pathlib.Path(__file__).resolve().parent
  installed = here / "configs"
  return installed if installed.is_dir() else here.parent / "configs"


def shipped_configs() -> list[str]:
  """Returns the names of the shipped config files."""
  return sorted(
      f"configs/{p.name}" for p in shipped_folder().glob("*.py")
      if not p.name.startswith("_"))


def find_config(argument: str) -> str:
  """Returns FILE[:args] with FILE found: here, or among the shipped ones.

  Raises:
    UsageError: there is no such file.
  """
  name, colon, rest = argument.partition(":")
  path = pathlib.Path(name)
  if not path.exists():
    shipped = shipped_folder() / path.name
    if not shipped.exists() or path.parent.name not in ("", "configs"):
      raise UsageError(
          f"--config={name}: no such file"
          f"{suggest(f'configs/{path.name}', shipped_configs())}; shipped: "
          f"{', '.join(shipped_configs())}")
    path = shipped
  return f"{path}{colon}{rest}"


def parse_flags(argv: Sequence[str]) -> list[str]:
  """Parses the command line; what cannot be is a UsageError in one line."""
  return _parse(flags.FLAGS, _with_found_configs(argv))


def load_config(words: Sequence[str]) -> ConfigDict:
  """Returns the config of --config=FILE[:args] and --config.KEY=VALUE words.

  For verbs that have flags of their own; the process's flags stay as they are.

  Raises:
    UsageError: no such file or key, a value of another type, or no --config.
  """
  values = flags.FlagValues()
  argv = _with_found_configs(["vit_jax", *words])
  config = config_flags.DEFINE_config_file(
      "config", lock_config=True, flag_values=values, sys_argv=argv)
  _parse(values, argv)
  if config.value is None:
    raise UsageError(missing_config())
  return config.value


def missing_config() -> str:
  """Says that --config is missing, and what there is."""
  return ("--config=configs/FILE.py is missing; shipped: "
          + ", ".join(shipped_configs()))


def _with_found_configs(argv: Sequence[str]) -> list[str]:
  """Returns the words with the file of --config found."""
  given = []
  for i, word in enumerate(argv):
    if word.startswith(("--config=", "-config=")):
      word = "--config=" + find_config(word.partition("=")[2])
    elif i and argv[i - 1] in ("--config", "-config"):
      word = find_config(word)
    given.append(word)
  return given


def _parse(values: flags.FlagValues, argv: Sequence[str]) -> list[str]:
  try:
    return values(argv)
  except flags.Error as error:
    raise UsageError(_explain(str(error))) from None
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    raise UsageError(_explain(str(error), argv)) from None


def _explain(message: str, given: Sequence[str] = ()) -> str:
  """Names the config key that a message of absl or ml_collections is about."""
  for word in (*given, *message.replace("'", " ").split()):
    match = re.match(r"-?-?config\.([\w.]+)", word)
    name = match[1] if match else ""
    if name.startswith("evals.") and name.count(".") == 2:
      if name.rpartition(".")[2] not in eval_config():
        return unknown_key_message(name, list(eval_config()))
      continue
    node = default_config()
    for part in name.split(".") if name else ():
      if not hasattr(node, "keys"):
        break
      if part not in node:
        return unknown_key_message(name)
      node = node[part]
  return " ".join(message.split())


def run(argv: Sequence[str] | None = None) -> None:
  """Parses flags and runs `main`; never returns."""
  os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
  argv = list(sys.argv if argv is None else argv)

  def guarded(remaining: Sequence[str]) -> int:
    try:
      return main(remaining)
    except UserError as error:
      print(f"vit_jax: error: {error}", file=sys.stderr)
      return error.exit_code

  def parse(words: Sequence[str]) -> list[str]:
    try:
      return parse_flags(words)
    except UserError as error:
      print(f"vit_jax: error: {error}", file=sys.stderr)
      sys.exit(error.exit_code)

  app.run(guarded, argv=argv, flags_parser=parse)


if __name__ == "__main__":
  run()

"""Finds config files, and reads --config=FILE[:args] with its overrides."""

from collections.abc import Sequence
import pathlib
import re

from absl import flags
from ml_collections import ConfigDict, config_flags

from vit_jax.config.schema import (
    default_config,
    eval_config,
    unknown_key_message,
)
from vit_jax.errors import UsageError, suggest


def shipped_folder() -> pathlib.Path:
  """Returns the folder of the configs that come with the package."""
  package = pathlib.Path(__file__).resolve().parents[1]
  installed = package / "configs"
  return installed if installed.is_dir() else package.parent / "configs"


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

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
  """Returns FILE[:args] with the path of FILE, as given or as shipped.

  Raises:
    UsageError: there is no such file.
  """
  name, colon, args = argument.partition(":")
  path = pathlib.Path(name)
  if not path.exists():
    shipped = shipped_folder() / path.name
    if not shipped.exists() or path.parent.name not in ("", "configs"):
      raise UsageError(
          f"--config={name}: no such file"
          f"{suggest(f'configs/{path.name}', shipped_configs())}; shipped: "
          f"{', '.join(shipped_configs())}")
    path = shipped
  return f"{path}{colon}{args}"


def load_config(words: Sequence[str]) -> ConfigDict:
  """Returns the config of --config=FILE[:args] and --config.KEY=VALUE words.

  Raises:
    UsageError: no such file or key, a value of another type, or no --config.
  """
  argv = ["vit_jax", *_with_paths(words)]
  for word in argv:
    if match := re.match(r"--?(?:no)?config\.([\w.]+)", word):
      _check_key(match[1])
  # Flags of this call alone: those of the process stay as they are.
  values = flags.FlagValues()
  config = config_flags.DEFINE_config_file(
      "config", lock_config=True, flag_values=values, sys_argv=argv)
  try:
    unexpected = values(argv)[1:]
  except (flags.Error, AttributeError, KeyError, TypeError,
          ValueError) as error:
    raise UsageError(" ".join(str(error).split())) from None
  if unexpected:
    raise UsageError(f"unexpected argument {unexpected[0]!r}; expected "
                     "--config=FILE[:args] and --config.KEY=VALUE")
  if config.value is None:
    raise UsageError(missing_config())
  return config.value


def missing_config() -> str:
  """Returns the message that --config is missing, with the shipped files."""
  return ("--config=configs/FILE.py is missing; shipped: "
          + ", ".join(shipped_configs()))


def _with_paths(words: Sequence[str]) -> list[str]:
  """Returns the words with the path of --config's file in them."""
  located = list(words)
  for i, word in enumerate(words):
    if word.startswith(("--config=", "-config=")):
      located[i] = "--config=" + find_config(word.partition("=")[2])
    elif i and words[i - 1] in ("--config", "-config"):
      located[i] = find_config(word)
  return located


def _check_key(name: str) -> None:
  """Raises UsageError for a "section.key" that no config has."""
  section, _, key = name.partition(".")
  if section == "evals":
    # The config file chooses the names of its evaluations.
    if name.count(".") == 2 and name.rpartition(".")[2] not in eval_config():
      raise UsageError(unknown_key_message(name, list(eval_config())))
    return
  defaults = default_config()
  if section not in defaults or (key and key not in defaults[section]):
    raise UsageError(unknown_key_message(name))

"""Finds config files, and reads --config=FILE[:args] with its overrides."""

from collections.abc import Sequence
import os
import pathlib
import re
import sys
import traceback

from absl import flags
from ml_collections import ConfigDict, config_flags

from vit_jax.config.schema import (
  default_config,
  eval_config,
  unknown_key_message,
)
from vit_jax.errors import UsageError, UserError, suggest


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

  A file that is not there is replaced by a shipped one only if the argument is
  the name of that: configs/NAME.py, or NAME.py alone.

  Raises:
    UsageError: there is no such file.
  """
  name, colon, args = argument.partition(":")
  if not name:
    raise UsageError(missing_config())
  path = pathlib.Path(os.path.expanduser(name))
  if not path.exists() and path.parts in (
      (path.name,), ("configs", path.name)):
    path = shipped_folder() / path.name
  if path.suffix != ".py" or not path.is_file():
    what = ("not a Python file" if path.is_file() else
            "a directory" if path.is_dir() else "no such file")
    raise UsageError(
        f"--config={name}: {what}"
        f"{suggest(f'configs/{path.name}', shipped_configs())}; shipped: "
        f"{', '.join(shipped_configs())}")
  return f"{path}{colon}{args}"


def load_config(words: str | Sequence[str]) -> ConfigDict:
  """Returns the config of a file, with changes.

  Args:
    words: "configs/FILE.py:ARGS"; or the words of a command line,
      --config=FILE[:ARGS] and --config.KEY=VALUE.

  Raises:
    UsageError: no such file or key, a value of another type, or no --config.
  """
  if isinstance(words, str | os.PathLike):
    text = os.fspath(words)
    words = [text if text.startswith("-") else f"--config={text}"]
  elif not isinstance(words, Sequence):
    raise UsageError(
        f"a config of type {type(words).__name__}; expected "
        "'configs/FILE.py:ARGS', or what vit_jax.load_config returns")
  argv = ["vit_jax", *_with_paths(words)]
  for word in argv:
    if match := re.match(r"--?(?:no)?config\.([\w.]+)", word):
      _check_key(match[1])
  # Or names of the file that was loaded before are left in the new one.
  sys.modules.pop("config_config", None)
  # Flags of this call alone: those of the process stay as they are.
  values = flags.FlagValues()
  config = config_flags.DEFINE_config_file(
      "config", lock_config=True, flag_values=values, sys_argv=argv)
  try:
    unexpected = values(argv)[1:]
    if config.present and not isinstance(config.value, ConfigDict):
      getattr(config.value, "lock", None)  # Raises what reading it has raised.
      raise TypeError(
          f"get_config() returned {type(config.value).__name__}; a ConfigDict "
          "was expected, see vit_jax.config.schema.default_config")
  except UserError:
    raise
  # The file is a program, which fails in any way.
  except Exception as error:
    raise UsageError(error_in_config(_path(argv), error)) from error
  if unexpected:
    raise UsageError(f"unexpected argument {unexpected[0]!r}; expected "
                     "--config=FILE[:args] and --config.KEY=VALUE")
  if config.value is None:
    raise UsageError(missing_config())
  return config.value


def error_in_config(path: str, error: BaseException) -> str:
  """Returns one line about an error of a config file, or of an override.

  Args:
    path: of the file, as it was loaded.
    error: whatever loading it has raised.
  """
  # absl and ml_collections wrap an error, one with the whole traceback.
  while (inner := error.__cause__ or error.__context__) and (
      "whilst parsing config file" in str(error)
      or "Configuration is not available" in str(error)):
    error = inner
  text = " ".join(str(error).split())
  lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
           if frame.filename == path]
  if isinstance(error, SyntaxError) and error.filename == path:
    lines, text = [error.lineno], error.msg
  if lines:
    return (f"--config={path}: {type(error).__name__} in line {lines[-1]}: "
            f"{text}")
  # Of get_config itself: it is missing, or takes other arguments.
  return f"--config={path}: {text}" if "get_config" in text else text


def missing_config() -> str:
  """Returns the message that --config is missing, with the shipped files."""
  return ("--config=configs/FILE.py is missing; shipped: "
          + ", ".join(shipped_configs()))


def _with_paths(words: Sequence[str]) -> list[str]:
  """Returns the words with the path of --config's file in them."""
  located: list[str] = []
  for word in words:
    if located and located[-1] in ("--config", "-config"):
      located[-1] = f"--config={find_config(word)}"
    elif word.startswith(("--config=", "-config=")):
      located.append("--config=" + find_config(word.partition("=")[2]))
    else:
      located.append(word)
  return located


def _path(argv: Sequence[str]) -> str:
  """Returns the path of --config's file, "" if there is none."""
  given = [word.removeprefix("--config=").partition(":")[0] for word in argv
           if word.startswith("--config=")]
  return given[-1] if given else ""


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

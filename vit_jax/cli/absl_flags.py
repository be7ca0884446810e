"""The flags that absl gave to training, before the verbs had parsers.

Scripts still use them: each one works, or is answered with what to do instead.
"""

from collections.abc import Sequence
import os
import pathlib

from vit_jax.errors import UsageError

# What the verb train has. absl takes one dash for two.
_OWN = ("config", "workdir", "coordinator", "num_processes", "process_id",
        "heartbeat_seconds")
_HELP = ("help", "helpshort", "helpfull", "helpxml", "?")
# Log lines always go to standard error, with the time as their prefix.
_GRANTED = ("logtostderr", "alsologtostderr", "showprefixforinfo")
_LOGS = ("log lines always go to standard error: end the command with 2> FILE "
         "to keep them")
_DEBUGGER = "run python -m pdb -m vit_jax train ..."
_PROFILER = (
    "run python -m cProfile -o FILE -m vit_jax train ..., or trace the devices "
    "by --config.train.profile_steps")
_CHECKS = ("all arguments and the config are checked before anything is "
           "trained: leave it out")
_INSTEAD = {
    "verbosity": _LOGS, "v": _LOGS, "log_dir": _LOGS,
    "stderrthreshold": _LOGS, "logger_levels": _LOGS,
    "pdb": _DEBUGGER, "pdb_post_mortem": _DEBUGGER, "run_with_pdb": _DEBUGGER,
    "run_with_profiling": _PROFILER, "profile_file": _PROFILER,
    "use_cprofile_for_profiling": _PROFILER,
    "only_check_args": _CHECKS, "only_check_flags": _CHECKS,
    "undefok": "remove it, and the arguments that it lists",
}
_ABSL = (*_HELP, *_GRANTED, *_INSTEAD)


def rewrite(argv: Sequence[str]) -> list[str]:
  """Returns the words with absl's flags replaced by those of the verb.

  Raises:
    UsageError: a flag that is gone; says what takes its place.
  """
  return [kept for word in _with_flag_files(argv) if (kept := _rewritten(word))]


def _rewritten(word: str) -> str:
  """Returns a word as the verb takes it, "" for one without effect."""
  name = word.lstrip("-").partition("=")[0]
  if not word.startswith("-"):
    return word
  if name.startswith("jax_"):
    raise UsageError(
        f"{word}: options of JAX are environment variables: "
        f"{name.upper()}={word.partition('=')[2] or 'VALUE'} before the "
        "command")
  if name in _HELP:
    return "--help"
  if name in _GRANTED or (
      name.startswith("no") and name.removeprefix("no") in _ABSL):
    return ""
  if name in _INSTEAD:
    raise UsageError(f"{word}: not an argument any more; {_INSTEAD[name]}")
  if name.partition(".")[0] in (*_OWN, "noconfig"):
    return "--" + word.lstrip("-")
  return word


def _with_flag_files(
    argv: Sequence[str], reading: tuple[pathlib.Path, ...] = ()
) -> list[str]:
  """Returns the words with those of --flagfile=FILE, one a line, in place.

  Args:
    argv: the words.
    reading: the files whose content they are.
  """
  words: list[str] = []
  given = iter(argv)
  for word in given:
    flag, equals, name = word.partition("=")
    if flag not in ("--flagfile", "-flagfile"):
      words.append(word)
      continue
    name = name if equals else next(given, "")
    path = pathlib.Path(os.path.expanduser(name)).resolve()
    if path in reading:
      raise UsageError(f"{word}: the file includes itself")
    try:
      lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
      raise UsageError(
          f"--flagfile={name} cannot be read ({error}); give a text file with "
          "one argument a line") from None
    words += _with_flag_files(
        [line.strip() for line in lines
         if line.strip() and not line.strip().startswith(("#", "//"))],
        (*reading, path))
  return words

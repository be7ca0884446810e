"""The errors that a user meets: one line each, and an exit code.

A message names the file or key, the value, what was expected and what to do.
Anything else that escapes is a bug and keeps its traceback.
"""

from collections.abc import Iterable, Sequence
import difflib

# Told to stop: the state is saved, and the same command resumes.
EXIT_PREEMPTED = 42


class UserError(Exception):
  """The work cannot be done as asked; shown as one line without traceback."""

  exit_code = 1


class UsageError(UserError):
  """The command or config itself is wrong: unknown key, name or argument."""

  exit_code = 2


class CheckpointError(UserError):
  """A checkpoint or weights file cannot be read, or does not fit the model."""


class DataError(UserError):
  """A data set, split or picture cannot be read."""


def suggest(word: str, known: Iterable[str]) -> str:
  """Returns " (did you mean 'x'?)" for the nearest known word, or ""."""
  near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
  return f" (did you mean {near[0]!r}?)" if near else ""


def abbreviate(names: Sequence[str], limit: int = 4) -> str:
  """Returns "a, b, c, d and 3 more"."""
  more = f" and {len(names) - limit} more" if len(names) > limit else ""
  return ", ".join(names[:limit]) + more

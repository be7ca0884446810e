"""Errors that are shown to users: one line each, and every exit code.

A message names the file or key, the value, what was expected and what to do.
Any other exception is a bug and keeps its traceback.
"""

from collections.abc import Iterable, Sequence
import difflib
import traceback

# 0: done. A UserError's own code: 1, the work failed; 2, wrong usage. Of
# training, 1 means that it may succeed if it is repeated.
EXIT_FAILS_AGAIN = 3  # Training cannot succeed if it is repeated as it is.
EXIT_PREEMPTED = 42  # SIGTERM, state saved: the same command resumes.
EXIT_INTERRUPTED = 130  # Ctrl-C: 128 + SIGINT, as shells report it.
EXIT_BROKEN_PIPE = 141  # The reader of the output is gone: 128 + SIGPIPE.


class UserError(Exception):
  """The work cannot be done as asked; shown as one line without traceback."""

  exit_code = 1
  passing = False  # Whether it may succeed if it is repeated: the network.

  def __str__(self) -> str:
    """Returns the message as one line."""
    return visible(super().__str__())


class UsageError(UserError):
  """The command or config itself is wrong: unknown key, name or argument."""

  exit_code = 2


class CheckpointError(UserError):
  """A checkpoint or weights file cannot be read, or does not fit the model."""


class SaveError(CheckpointError):
  """A checkpoint cannot be written; a bucket may take it later."""

  passing = True


class DataError(UserError):
  """A data set, split or image cannot be read."""


class UnreachableError(DataError):
  """A bucket or server does not answer; it may, later."""

  passing = True


# The packages that speak to buckets.
_CLIENTS = ("gcsfs.", "s3fs.", "adlfs.", "aiohttp.", "botocore.", "azure.",
            "google.api_core.", "google.auth.", "google.cloud.")
# How tensorstore says that a storage did not answer, or not to this user.
_NO_ANSWER = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "PERMISSION_DENIED",
              "UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "ABORTED", "CANCELLED")


def is_from_bucket(error: BaseException) -> bool:
  """Tells whether a bucket's client has raised an error, or passed it on."""
  return any(
      f"{frame.f_globals.get('__name__', '')}.".startswith(_CLIENTS)
      for frame, _ in traceback.walk_tb(error.__traceback__))


def is_no_answer(error: BaseException) -> bool:
  """Tells whether a storage did not answer; else what it answered is wrong.

  Another time, or for another user, it may.
  """
  if error.__cause__ is not None:
    return is_no_answer(error.__cause__)
  if isinstance(error, FileNotFoundError):
    return False
  return (isinstance(error, ConnectionError | TimeoutError | PermissionError)
          or str(error).startswith(_NO_ANSWER) or is_from_bucket(error))


def visible(text: str) -> str:
  """Returns text as one line that a terminal shows as it is.

  Names from files may hold line breaks and the sequences that move a
  terminal's cursor. Bytes of a name that are no text (as Python's
  surrogateescape has them) stay as they are.
  """
  return text if text.isprintable() else "".join(
      c if c.isprintable() or "\udc80" <= c <= "\udcff"
      else c.encode("unicode_escape").decode() for c in text)


def suggest(word: str, known: Iterable[str]) -> str:
  """Returns " (did you mean 'x'?)" for the nearest known word, or ""."""
  near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
  # Of those the one with the fewest typing errors: cifar11 is cifar10, although
  # cifar10_1 has more letters in common with it.
  best = min(near, key=lambda one: _edits(word, one), default=None)
  return f" (did you mean {best!r}?)" if near else ""


def _edits(a: str, b: str) -> int:
  """Returns how many letters to insert, delete or replace make b of a."""
  row = list(range(len(b) + 1))
  for i, x in enumerate(a, 1):
    above, row = row, [i]
    for j, y in enumerate(b, 1):
      row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
  return row[-1]


def one_line(error: BaseException, limit: int = 300) -> str:
  """Returns an error of a library as one line, its type where it says nothing.
  """
  return " ".join(str(error).split())[:limit] or type(error).__name__


def abbreviate(names: Sequence[str], limit: int = 4) -> str:
  """Returns "a, b, c, d and 3 more"."""
  more = f" and {len(names) - limit} more" if len(names) > limit else ""
  return ", ".join(names[:limit]) + more

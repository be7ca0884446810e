"""One run a working directory: a lock that says who holds it, and since when.

On a local or network disk the system's own lock is taken, which ends with its
holder. A bucket has none: there the holder writes the lock anew every half
minute, and one that no longer changes is taken over.
"""

from collections.abc import Iterator
import contextlib
import fcntl
import json
import os
import pathlib
import signal
import socket
import threading
import time
from typing import Any
import uuid

from absl import logging
from etils import epath

from vit_jax.errors import UserError, one_line
from vit_jax.weights.formats.atomic import remove_leftovers
from vit_jax.weights.formats.json_object import parse_object

NAME = "lock"
_BEAT = 30.0  # seconds
_PATIENCE = 3 * _BEAT + 10.0  # after which a lock without a beat is a dead one
_SETTLE = 2.0  # seconds in which two that write at once see each other


@contextlib.contextmanager
def workdir_lock(workdir: str) -> Iterator[None]:
  """Holds the lock of a working directory, and tidies up after dead holders.

  Raises:
    UserError: another run holds it, or the directory cannot be written to.
  """
  path = epath.Path(workdir) / NAME
  if "://" in workdir:
    with _beating(path):
      yield
    return
  try:
    held = _take(pathlib.Path(path))
  except OSError as error:
    raise _unwritable(path, error) from None
  if held is None:  # No locks on this file system.
    with _beating(path):
      remove_leftovers(workdir)
      yield
    return
  try:
    remove_leftovers(workdir)
    yield
  finally:
    with contextlib.suppress(OSError):  # Its directory may be gone.
      os.unlink(path)
    os.close(held)


def _holder() -> dict[str, Any]:
  """Returns who holds a lock that this process takes."""
  return {"host": socket.gethostname(), "pid": os.getpid(),
          "since": time.strftime("%Y-%m-%d %H:%M:%S"),
          "token": uuid.uuid4().hex, "beat": 0}


def _in_use(path: Any, holder: dict[str, Any]) -> UserError:
  """Returns the error of a lock that somebody holds."""
  return UserError(
      f"{path.parent} is in use by a run with pid {holder.get('pid', '?')} on "
      f"{holder.get('host', '?')} since {holder.get('since', '?')}; wait for "
      "its end, stop it, or use another --workdir")


def _read(path: Any) -> dict[str, Any]:
  """Returns what a lock says; {} where it cannot be read."""
  try:
    return parse_object(path.read_text())
  except (OSError, ValueError):
    return {}


def _take(path: pathlib.Path) -> int | None:
  """Returns the open file of a lock that is now held; None without locks."""
  while True:
    held = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
      fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
      # Another holder may have removed the file since it was opened.
      current = os.path.exists(path) and os.path.samestat(
          os.stat(path), os.fstat(held))
    except BlockingIOError:
      os.close(held)
      raise _in_use(path, _read(path)) from None
    except OSError:
      os.close(held)
      return None
    if current:
      os.ftruncate(held, 0)
      os.pwrite(held, json.dumps(_holder()).encode(), 0)
      return held
    os.close(held)


def _unwritable(path: Any, error: Exception) -> UserError:
  """Returns the error of a lock that cannot be written."""
  reason = getattr(error, "strerror", None) or one_line(error)
  failed = UserError(f"{path}: cannot be written ({reason}); a run needs a "
                     "--workdir that it can write to")
  # Clients of buckets have OSErrors for what is not there or not allowed.
  failed.passing = not isinstance(error, OSError) or isinstance(
      error, ConnectionError | TimeoutError)
  return failed


def _write_first(path: epath.Path) -> dict[str, Any]:
  """Writes a lock that nobody holds; returns what it says."""
  other = _read(path)
  if other and not _is_dead(other):
    _await_death(path, other)
  mine = _holder()
  path.write_text(json.dumps(mine))
  time.sleep(_SETTLE)
  found = _read(path)
  if found.get("token") != mine["token"]:
    raise _in_use(path, found)
  return mine


@contextlib.contextmanager
def _beating(path: epath.Path) -> Iterator[None]:
  """Holds a lock by writing it again and again."""
  try:
    mine = _write_first(path)
  except UserError:
    raise
  except Exception as error:  # Of whatever kind the bucket's client has.
    raise _unwritable(path, error) from error
  done = threading.Event()
  thread = threading.Thread(
      target=_beat, args=(path, mine, done), name="lock", daemon=True)
  thread.start()
  try:
    yield
  finally:
    done.set()
    thread.join()
    try:
      if _read(path).get("token") == mine["token"]:
        path.unlink(missing_ok=True)
    except Exception as error:  # The run's own outcome counts.
      logging.warning("%s cannot be removed: %s", path, one_line(error))


def _beat(
    path: epath.Path, mine: dict[str, Any], done: threading.Event
) -> None:
  """Runs in a thread: shows that the holder lives."""
  while not done.wait(_BEAT):
    try:
      found = _read(path)
      if found and found.get("token") != mine["token"]:
        logging.error(
            "%s has been taken over by pid %s on %s: this run stops", path,
            found.get("pid"), found.get("host"))
        os.kill(os.getpid(), signal.SIGTERM)
        return
      mine["beat"] += 1
      path.write_text(json.dumps(mine))
    except Exception as error:  # Of whatever kind the bucket's client has.
      logging.warning("%s cannot be written: %s", path, one_line(error))


def _is_dead(holder: dict[str, Any]) -> bool:
  """Tells whether a lock's process is known to have ended."""
  if holder.get("host") != socket.gethostname():
    return False
  pid = holder.get("pid")
  if not isinstance(pid, int) or pid <= 0 or pid == os.getpid():
    return True  # In a container, all have the same number.
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return True
  except PermissionError:
    return False
  return False


def _await_death(path: epath.Path, other: dict[str, Any]) -> None:
  """Returns when a lock has not changed for long; UserError if it does."""
  logging.info(
      "%s was left or is held by pid %s on %s: waiting up to %d s for a sign "
      "of life", path, other.get("pid"), other.get("host"), _PATIENCE)
  until = time.monotonic() + _PATIENCE
  while time.monotonic() < until:
    time.sleep(min(1.0, _PATIENCE / 10))
    found = _read(path)
    if not found:
      return
    if found != other:
      raise _in_use(path, found)

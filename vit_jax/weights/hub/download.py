"""Downloads one file from a web server or bucket to a local path, once.

The bytes go to `NAME.part` beside the target (see `partial_file`), and the
target appears by an atomic rename, whole. A lock makes the first of several
processes download and the others wait for its file.
"""

from collections.abc import Callable, Iterator
import contextlib
import errno
import fcntl
import os
import pathlib
import shutil
import sys
import time
from typing import IO, Any, BinaryIO

from absl import logging

from vit_jax.data.progress_bar import Bar
from vit_jax.errors import CheckpointError, UnreachableError, UserError
from vit_jax.paths import in_bucket
from vit_jax.weights.hub import arrived, http, partial_file

CHUNK = 1 << 20
LOG_SECONDS = 10.0
# Ten times the largest file of this kind: no server may send without end.
MOST_BYTES = 100 << 30
_FULL = (errno.ENOSPC, errno.EDQUOT)


def download(
    url: str,
    path: pathlib.Path,
    *,
    expected: arrived.ExpectedSize | None = None,
    check: Callable[[pathlib.Path, str], None] | None = None,
    retries: int = 5,
    backoff: float = 0.5,
    timeout: float = 30.0,
) -> pathlib.Path:
  """Returns `path`, downloaded from `url` unless it exists already.

  An existing file is used unchanged, without asking the server.

  Args:
    url: http, https, or what fsspec reads (gs, s3, ...).
    path: the local file to create.
    expected: the size to require; that of a Content-Length always is.
    check: called with the whole file, before it gets its name, and the URL;
      raises if the content is wrong. With `check_weights`, an answer that does
      not begin as weights do is refused as it arrives.
    retries: failures in a row, without a new MiB, before giving up.
    backoff: seconds before the first new try; doubles each time, up to 30.
    timeout: seconds of silence of the server that count as a failure.

  Raises:
    UserError: the server, the network or the disk fails; the message names
      which.
    CheckpointError: the content or size is not that of the file wanted.
  """
  if path.is_file():
    return path
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
      if not path.is_file():
        part = path.with_name(path.name + ".part")
        begins = (arrived.check_beginning
                  if check is arrived.check_weights else None)
        md5 = _transfer(url, part, expected, begins, retries, backoff, timeout)
        _finish(part, path, url, expected, md5, check)
  except OSError as error:
    raise _disk_error(path, error) from error
  return path


def _transfer(
    url: str,
    part: pathlib.Path,
    expected: arrived.ExpectedSize | None,
    begins: Callable[[bytes, str], None] | None,
    retries: int,
    backoff: float,
    timeout: float,
) -> str | None:
  """Tries until `part` holds every byte of the file; returns its MD5 if known.
  """
  furthest, failures = partial_file.partial_size(part), 0
  if in_bucket(url):  # Whose clients try for half a minute themselves.
    retries = min(retries, 1)
  while True:
    try:
      return _attempt(url, part, expected, begins, timeout)
    except http.Interrupted as error:
      reason = str(error)
    # Only bytes beyond the furthest count as progress, so that a server that
    # always starts again from 0 cannot keep us for ever.
    if partial_file.partial_size(part) >= furthest + CHUNK:
      furthest, failures = partial_file.partial_size(part), 0
    failures += 1
    if failures > retries:
      kept, _ = partial_file.resume_point(part, url)
      raise UnreachableError(
          f"{url}: gave up after {failures} failures in a row, the last: "
          f"{reason}; the same command resumes after the {kept:,} bytes that "
          f"have arrived. Offline? Put the file at {part.with_suffix('')}")
    wait = min(backoff * 2 ** (failures - 1), 30.0)
    logging.warning("%s: %s; trying again in %.1f s", url, reason, wait)
    time.sleep(wait)


def _attempt(
    url: str,
    part: pathlib.Path,
    expected: arrived.ExpectedSize | None,
    begins: Callable[[bytes, str], None] | None,
    timeout: float,
) -> str | None:
  """Requests what is missing and writes it; raises Interrupted if short."""
  start, version = partial_file.resume_point(part, url)
  try:
    remote = http.open_url(url, start, version, timeout)
  except http.RangeRefused as error:
    if start and error.total == start:
      return None  # every byte had arrived; only the rename was missing
    partial_file.forget_partial(part)
    raise http.Interrupted(
        "the server cannot resume from there; starting again") from error
  with contextlib.closing(remote.stream):
    if remote.total is not None:
      arrived.check_size(url, remote.total, expected)
      _check_room(part, remote.total - remote.start)
    if remote.start != start or remote.version != version:
      partial_file.begin_partial(part, url, remote.version)
    with part.open("r+b" if remote.start else "wb") as f:
      f.seek(remote.start)
      f.truncate()
      with _progress(part.stem, remote.start, remote.total) as report:
        try:
          _copy(url, remote, f, begins, report)
        except CheckpointError:
          partial_file.forget_partial(part)
          raise
      f.flush()
      os.fsync(f.fileno())
  return remote.md5


def _copy(
    url: str, remote: http.RemoteFile, f: BinaryIO,
    begins: Callable[[bytes, str], None] | None,
    report: Callable[[int], None],
) -> None:
  """Copies the stream to its end; raises Interrupted if it ends early."""
  position, head = remote.start, b""
  while remote.total is None or position < remote.total:
    wanted = CHUNK
    if remote.total is not None:
      wanted = min(CHUNK, remote.total - position)
    data = http.read_chunk(remote.stream, wanted)
    if not data:
      break
    if begins and position < arrived.HEAD:
      head += data
      if len(head) >= arrived.HEAD and remote.start == 0:
        begins(head[:arrived.HEAD], url)
    f.write(data)
    position += len(data)
    report(len(data))
    if position > MOST_BYTES:
      raise CheckpointError(
          f"{url}: more than {MOST_BYTES:,} bytes, larger than any file of "
          "this kind")
  if remote.total is not None and position < remote.total:
    raise http.Interrupted(
        f"the connection ended after {position:,} of {remote.total:,} bytes")


def _finish(
    part: pathlib.Path,
    path: pathlib.Path,
    url: str,
    expected: arrived.ExpectedSize | None,
    md5: str | None,
    check: Callable[[pathlib.Path, str], None] | None,
) -> None:
  """Checks the whole file and gives it its name."""
  try:
    arrived.check_size(url, partial_file.partial_size(part), expected)
    if md5 and md5 != arrived.md5(part):
      raise CheckpointError(
          f"{url}: what arrived is not what the server holds (MD5). It was "
          "deleted; try again")
    if check:
      check(part, url)
  except UserError:
    partial_file.forget_partial(part)
    raise
  os.replace(part, path)
  partial_file.forget_partial(part)


def _check_room(part: pathlib.Path, needed: int) -> None:
  free = shutil.disk_usage(part.parent).free
  if needed > free:
    raise OSError(errno.ENOSPC, f"{needed:,} bytes needed, {free:,} free")


def _disk_error(path: pathlib.Path, error: OSError) -> UserError:
  what = "disk full" if error.errno in _FULL else "cannot write"
  return UserError(
      f"{path}: {what} ({error.strerror or error}); free or allow "
      f"{path.parent}, or set another cache folder with VIT_JAX_CACHE")


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[None]:
  """Holds the path's lock; the system frees it when a holder dies."""
  lock = path.with_name(path.name + ".lock")
  while True:
    with lock.open("w") as f:
      try:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        logging.info("%s: waiting for the process that downloads it", path)
        fcntl.flock(f, fcntl.LOCK_EX)
      # The holder before has removed it: others may hold a new one.
      if not _is_file(lock, f):
        continue
      try:
        yield
      finally:
        lock.unlink(missing_ok=True)
      return


def _is_file(path: pathlib.Path, f: IO) -> bool:
  """Tells whether an open file is the one that the path names."""
  try:
    return os.path.samestat(path.stat(), os.fstat(f.fileno()))
  except FileNotFoundError:
    return False


@contextlib.contextmanager
def _progress(
    name: str, start: int, total: int | None
) -> Iterator[Callable[[int], None]]:
  """Shows a bar on a terminal, a log line now and then elsewhere."""
  bar: Any = Bar(
      desc=name, initial=start, total=total, unit="B", unit_scale=True,
      unit_divisor=1024, disable=not sys.stderr.isatty())
  done, logged = start, time.monotonic()

  def report(new: int) -> None:
    nonlocal done, logged
    done += new
    bar.update(new)
    if bar.disable and time.monotonic() - logged > LOG_SECONDS:
      logged = time.monotonic()
      logging.info("%s: %.1f of %s MiB", name, done / 2**20,
                   "?" if total is None else f"{total / 2**20:.1f}")

  with bar:
    yield report

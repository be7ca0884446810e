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
from typing import Any, BinaryIO, NamedTuple
import zipfile

from absl import logging
import tqdm

from vit_jax.errors import CheckpointError, UnreachableError, UserError
from vit_jax.weights.formats.detect import detect_format
from vit_jax.weights.hub import http, partial_file

CHUNK = 1 << 20
LOG_SECONDS = 10.0
_FULL = (errno.ENOSPC, errno.EDQUOT)


class ExpectedSize(NamedTuple):
  """The size that a file should have, in bytes; published ones are rounded."""

  size: int
  tolerance: int


def download(
    url: str,
    path: pathlib.Path,
    *,
    expected: ExpectedSize | None = None,
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
      raises if the content is wrong.
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
        _transfer(url, part, expected, retries, backoff, timeout)
        _finish(part, path, url, expected, check)
  except OSError as error:
    raise _disk_error(path, error) from error
  return path


def check_npz(path: pathlib.Path, url: str) -> None:
  """Raises CheckpointError if the file is not a whole .npz (zip) archive."""
  try:
    detect_format(path)
    with zipfile.ZipFile(path) as archive:
      if archive.namelist():
        return
      content = "an empty zip archive"
  except zipfile.BadZipFile:
    content = f"only a part of an .npz file ({path.stat().st_size:,} bytes)"
  except CheckpointError as error:
    content = str(error).removeprefix(f"{path}: ")
  raise CheckpointError(f"{url}: what arrived is {content}. It was deleted")


def _transfer(
    url: str,
    part: pathlib.Path,
    expected: ExpectedSize | None,
    retries: int,
    backoff: float,
    timeout: float,
) -> None:
  """Tries until `part` holds every byte of the file."""
  furthest, failures = partial_file.partial_size(part), 0
  while True:
    try:
      return _attempt(url, part, expected, timeout)
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
    expected: ExpectedSize | None,
    timeout: float,
) -> None:
  """Requests what is missing and writes it; raises Interrupted if short."""
  start, version = partial_file.resume_point(part, url)
  try:
    remote = http.open_url(url, start, version, timeout)
  except http.RangeRefused as error:
    if start and error.total == start:
      return  # every byte had arrived; only the rename was missing
    partial_file.forget_partial(part)
    raise http.Interrupted(
        "the server cannot resume from there; starting again") from error
  with contextlib.closing(remote.stream):
    if remote.total is not None:
      _check_size(url, remote.total, expected)
      _check_room(part, remote.total - remote.start)
    if remote.start != start or remote.version != version:
      partial_file.begin_partial(part, url, remote.version)
    with part.open("r+b" if remote.start else "wb") as f:
      f.seek(remote.start)
      f.truncate()
      with _progress(part.stem, remote.start, remote.total) as report:
        _copy(remote, f, report)
      f.flush()
      os.fsync(f.fileno())


def _copy(
    remote: http.RemoteFile, f: BinaryIO, report: Callable[[int], None]
) -> None:
  """Copies the stream to its end; raises Interrupted if it ends early."""
  position = remote.start
  while remote.total is None or position < remote.total:
    wanted = CHUNK
    if remote.total is not None:
      wanted = min(CHUNK, remote.total - position)
    data = http.read_chunk(remote.stream, wanted)
    if not data:
      break
    f.write(data)
    position += len(data)
    report(len(data))
  if remote.total is not None and position < remote.total:
    raise http.Interrupted(
        f"the connection ended after {position:,} of {remote.total:,} bytes")


def _finish(
    part: pathlib.Path,
    path: pathlib.Path,
    url: str,
    expected: ExpectedSize | None,
    check: Callable[[pathlib.Path, str], None] | None,
) -> None:
  """Checks the whole file and gives it its name."""
  try:
    _check_size(url, partial_file.partial_size(part), expected)
    if check:
      check(part, url)
  except UserError:
    partial_file.forget_partial(part)
    raise
  os.replace(part, path)
  partial_file.forget_partial(part)


def _check_size(url: str, size: int, expected: ExpectedSize | None) -> None:
  if expected and abs(size - expected.size) > expected.tolerance:
    raise CheckpointError(
        f"{url}: {size:,} bytes, but the file of that name has about "
        f"{expected.size:,}; this is another file, or the server's error page")


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
  with lock.open("w") as f:
    try:
      fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      logging.info("%s: waiting for the process that downloads it", path)
      fcntl.flock(f, fcntl.LOCK_EX)
    yield
    # Once the file exists nobody needs the lock: a process that still waits for
    # it, or creates it anew, finds the file.
    lock.unlink(missing_ok=True)


@contextlib.contextmanager
def _progress(
    name: str, start: int, total: int | None
) -> Iterator[Callable[[int], None]]:
  """Shows a bar on a terminal, a log line now and then elsewhere."""
  bar: Any = tqdm.tqdm(
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

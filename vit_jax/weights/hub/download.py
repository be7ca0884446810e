"""Brings one file from a web server or bucket to a local path, once.

The bytes go to `NAME.part` beside the target (see `partial`), and the target
appears by an atomic rename, whole. A lock makes the first of several processes
download and the others wait for its file.
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

from vit_jax.errors import CheckpointError, UserError
from vit_jax.weights.formats import detect
from vit_jax.weights.hub import http, partial_file

CHUNK = 1 << 20
LOG_SECONDS = 10.0
_FULL = (errno.ENOSPC, errno.EDQUOT)


class ExpectedSize(NamedTuple):
  """What a file should weigh, both in bytes; published sizes are rounded."""

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
  """Returns `path`, downloaded from `url` unless it is there already.

  A file that is there is taken as it is, without asking the server.

  Args:
    url: http, https, or what fsspec reads (gs, s3, ...).
    path: the local file to make.
    expected: the size to insist on; a Content-Length is insisted on anyway.
    check: called with the whole file, before it gets its name, and the URL;
      raises if the content is wrong.
    retries: failures in a row, without a new MiB, after which to give up.
    backoff: seconds before the first new try; doubles each time, up to 30.
    timeout: seconds of silence of the server that count as a failure.

  Raises:
    UserError: the server, the network or the disk refuses, by name.
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
    detect.kind(path)
    with zipfile.ZipFile(path) as archive:
      if archive.namelist():
        return
      found = "an empty zip archive"
  except zipfile.BadZipFile:
    found = f"only a part of an .npz file ({path.stat().st_size:,} bytes)"
  except CheckpointError as error:
    found = str(error).removeprefix(f"{path}: ")
  raise CheckpointError(f"{url}: what arrived is {found}. It was thrown away")


def _transfer(
    url: str,
    part: pathlib.Path,
    expected: ExpectedSize | None,
    retries: int,
    backoff: float,
    timeout: float,
) -> None:
  """Tries until `part` holds every byte of the file."""
  furthest, failures = partial_file.size(part), 0
  while True:
    try:
      return _attempt(url, part, expected, timeout)
    except http.Interrupted as error:
      reason = str(error)
    # Only what is further than ever before counts, so that a server that
    # always starts again from nothing cannot keep us for ever.
    if partial_file.size(part) >= furthest + CHUNK:
      furthest, failures = partial_file.size(part), 0
    failures += 1
    if failures > retries:
      kept, _ = partial_file.resume_point(part, url)
      raise UserError(
          f"{url}: gave up after {failures} failures in a row, the last: "
          f"{reason}; the same command goes on after the {kept:,} bytes that "
          f"are here. Offline? Put the file at {part.with_suffix('')}")
    wait = min(backoff * 2 ** (failures - 1), 30.0)
    logging.warning("%s: %s; trying again in %.1f s", url, reason, wait)
    time.sleep(wait)


def _attempt(
    url: str,
    part: pathlib.Path,
    expected: ExpectedSize | None,
    timeout: float,
) -> None:
  """Asks for what is missing and writes it; raises Interrupted if short."""
  start, version = partial_file.resume_point(part, url)
  try:
    answer = http.open_url(url, start, version, timeout)
  except http.RangeRefused as error:
    if start and error.total == start:
      return  # every byte was here; only the rename was missing
    partial_file.forget(part)
    raise http.Interrupted(
        "the server cannot go on from there; starting again") from error
  with contextlib.closing(answer.stream):
    if answer.total is not None:
      _check_size(url, answer.total, expected)
      _check_room(part, answer.total - answer.start)
    if answer.start != start or answer.version != version:
      partial_file.begin(part, url, answer.version)
    with part.open("r+b" if answer.start else "wb") as f:
      f.seek(answer.start)
      f.truncate()
      with _progress(part.stem, answer.start, answer.total) as report:
        _copy(answer, f, report)
      f.flush()
      os.fsync(f.fileno())


def _copy(
    answer: http.Answer, f: BinaryIO, report: Callable[[int], None]
) -> None:
  """Copies the stream to its end; raises Interrupted if that comes early."""
  position = answer.start
  while answer.total is None or position < answer.total:
    wanted = CHUNK
    if answer.total is not None:
      wanted = min(CHUNK, answer.total - position)
    data = http.read(answer.stream, wanted)
    if not data:
      break
    f.write(data)
    position += len(data)
    report(len(data))
  if answer.total is not None and position < answer.total:
    raise http.Interrupted(
        f"the connection ended after {position:,} of {answer.total:,} bytes")


def _finish(
    part: pathlib.Path,
    path: pathlib.Path,
    url: str,
    expected: ExpectedSize | None,
    check: Callable[[pathlib.Path, str], None] | None,
) -> None:
  """Checks the whole file and gives it its name."""
  try:
    _check_size(url, partial_file.size(part), expected)
    if check:
      check(part, url)
  except UserError:
    partial_file.forget(part)
    raise
  os.replace(part, path)
  partial_file.forget(part)


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
    # Once the file is there nobody needs the lock: who still waits on it, or
    # makes it anew, finds the file.
    lock.unlink(missing_ok=True)


@contextlib.contextmanager
def _progress(
    name: str, start: int, total: int | None
) -> Iterator[Callable[[int], None]]:
  """A bar on a terminal, a log line now and then elsewhere."""
  bar: Any = tqdm.tqdm(
      desc=name, initial=start, total=total, unit="B", unit_scale=True,
      unit_divisor=1024, disable=not sys.stderr.isatty())
  done, said = start, time.monotonic()

  def report(new: int) -> None:
    nonlocal done, said
    done += new
    bar.update(new)
    if bar.disable and time.monotonic() - said > LOG_SECONDS:
      said = time.monotonic()
      logging.info("%s: %.1f of %s MiB", name, done / 2**20,
                   "?" if total is None else f"{total / 2**20:.1f}")

  with bar:
    yield report

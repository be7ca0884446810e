"""Writes the numbers of a run: metrics.jsonl (the record) and for boards.

Only process 0 writes. After a resume the record is cut back to the restored
step, so that it reads as if the run had never stopped.
"""

from collections.abc import Iterator, Mapping
import contextlib
import json
import os
import socket
import time

from etils import epath

from vit_jax.errors import UserError
from vit_jax.metrics import RECORD, read_record
from vit_jax.paths import absolute
from vit_jax.training import event_file
from vit_jax.training.wandb_run import WandbRun
from vit_jax.weights.formats.atomic import write_whole

# Seconds between two uploads of a file in a bucket.
_UPLOAD_EVERY = 60.0


class MetricWriter:
  """Writes the scalars of a step to the record and for TensorBoard."""

  def __init__(
      self, workdir: str, *, start_step: int, primary: bool,
      wandb_run: WandbRun | None = None,
  ) -> None:
    """Opens the record and cuts off what lies after `start_step`.

    Args:
      workdir: of the run.
      start_step: updates completed.
      primary: whether this process writes.
      wandb_run: where the numbers go as well; it is not closed here.
    """
    self._wandb_run = wandb_run
    self._files: list[_GrowingFile] = []
    if not primary:
      return
    folder = epath.Path(absolute(workdir))
    board = folder / "tensorboard"
    board.mkdir(parents=True, exist_ok=True)
    kept = [x for x in read_record(workdir) if x["step"] <= start_step]
    self._record = _GrowingFile(
        folder / RECORD, "".join(json.dumps(x) + "\n" for x in kept).encode())
    self._files.append(self._record)
    now = time.time_ns()
    self._events = _GrowingFile(
        board / f"events.out.tfevents.{now}.{socket.gethostname()}",
        event_file.file_header(now / 1e9, start_step + 1))
    self._files.append(self._events)

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    """Writes one line; floats keep all their digits."""
    if not self._files:
      return
    self._record.write((json.dumps({"step": step, **scalars}) + "\n").encode())
    self._events.write(event_file.scalars_event(
        time.time(), step, {name: value for name, value in scalars.items()
                            if isinstance(value, int | float)}))
    if self._wandb_run is not None:
      self._wandb_run.write(step, scalars)

  def flush(self) -> None:
    """Makes everything written so far durable."""
    for file in self._files:
      file.flush()

  def close(self) -> None:
    """Flushes and closes."""
    for file in self._files:
      file.close()


class _GrowingFile:
  """A file that is appended to, or where that is impossible written anew."""

  def __init__(self, path: epath.Path, content: bytes) -> None:
    """Replaces the file by `content`."""
    self._path = path
    # Buckets cannot append: the content is kept and written now and then.
    self._remote = "://" in str(path)
    with _one_line(path):
      if self._remote:
        path.write_bytes(content)
        self._content, self._uploaded = content, 0.0
      else:
        write_whole(path, content)
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115

  def write(self, data: bytes) -> None:
    """Appends; readers of a local file see it at once."""
    if not self._remote:
      with _one_line(self._path):
        self._file.write(data)
      return
    self._content += data
    if time.monotonic() - self._uploaded > _UPLOAD_EVERY:
      self.flush()

  def flush(self) -> None:
    """Makes everything written so far durable."""
    with _one_line(self._path):
      if self._remote:
        self._path.write_bytes(self._content)
        self._uploaded = time.monotonic()
      else:
        # Where the file was removed, nobody will read what is written to it.
        if not os.path.samestat(
            os.stat(self._path), os.fstat(self._file.fileno())):
          raise FileNotFoundError(None, "replaced by another file")
        os.fsync(self._file.fileno())

  def close(self) -> None:
    """Flushes and closes."""
    try:
      self.flush()
    finally:
      if not self._remote:
        self._file.close()


@contextlib.contextmanager
def _one_line(path: epath.Path) -> Iterator[None]:
  """Turns an error of the storage into a line that names the file."""
  try:
    yield
  except OSError as error:
    why = error.strerror or str(error)
    if isinstance(error, FileNotFoundError):
      why = f"it has disappeared while the run wrote to it ({why})"
    raise UserError(
        f"{path}: {why}; make room for it or bring its directory back, then "
        "the same command goes on from the newest checkpoint") from None

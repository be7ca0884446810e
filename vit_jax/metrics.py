"""Where numbers go: metrics.jsonl (the record of truth), TensorBoard, terminal.

Only process 0 writes. After a resume the record is cut back to the restored
step, so that it reads as if the run had never stopped.
"""

from collections.abc import Mapping
import json
import os
import sys
import time
from typing import Any

from absl import logging
from etils import epath
import tqdm

from vit_jax.paths import absolute

RECORD = "metrics.jsonl"


def read_record(workdir: str) -> list[dict[str, Any]]:
  """Returns the lines of WORKDIR/metrics.jsonl, without a torn last one."""
  path = epath.Path(absolute(workdir)) / RECORD
  if not path.exists():
    return []
  lines = []
  for line in path.read_text().splitlines():
    try:
      lines.append(json.loads(line))
    except json.JSONDecodeError:
      logging.warning("%s: dropped an incomplete line", path)
  return lines


def last_scores(workdir: str) -> dict[str, float]:
  """Returns the newest value of every "eval/..." key of the record."""
  scores = {}
  for line in read_record(workdir):
    scores |= {k: v for k, v in line.items() if k.startswith("eval/")}
  return scores


class MetricWriter:
  """Writes scalars of a step to the record, to TensorBoard and to the log."""

  def __init__(self, workdir: str, *, start_step: int, primary: bool) -> None:
    """Opens the record and cuts off what lies after `start_step`."""
    self._primary = primary
    if not primary:
      return
    folder = epath.Path(absolute(workdir))
    folder.mkdir(parents=True, exist_ok=True)
    kept = [x for x in read_record(workdir) if x["step"] <= start_step]
    text = "".join(json.dumps(x) + "\n" for x in kept)
    self._path = folder / RECORD
    self._remote = "://" in str(self._path)
    if self._remote:  # Buckets cannot append: the text is kept and rewritten.
      self._text, self._written = text, 0.0
      self._path.write_text(text)
    else:
      temporary = folder / (RECORD + ".tmp")
      temporary.write_text(text)
      os.replace(temporary, self._path)
      self._file = open(self._path, "a")  # noqa: SIM115
    self._board = _tensorboard(str(folder / "tensorboard"), start_step + 1)

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    """Writes one line; floats keep all their digits."""
    if not self._primary:
      return
    line = json.dumps({"step": step, **scalars}) + "\n"
    if self._remote:
      self._text += line
      if time.monotonic() - self._written > 60:
        self._sync()
    else:
      self._file.write(line)
      self._file.flush()
    for name, value in scalars.items():
      if isinstance(value, (int, float)):
        self._board.add_scalar(name, value, step)

  def flush(self) -> None:
    """Makes everything written so far durable."""
    if not self._primary:
      return
    if self._remote:
      self._sync()
    else:
      os.fsync(self._file.fileno())
    self._board.flush()

  def close(self) -> None:
    """Flushes and closes."""
    if not self._primary:
      return
    self.flush()
    self._board.close()
    if not self._remote:
      self._file.close()

  def _sync(self) -> None:
    self._path.write_text(self._text)
    self._written = time.monotonic()


def _tensorboard(folder: str, purge_step: int) -> Any:
  """Opens tensorboardX without the torch that it imports where it finds it.

  Nothing here uses torch, and its import takes seconds and threads.
  """
  hidden = "torch" not in sys.modules
  if hidden:
    sys.modules["torch"] = None  # type: ignore[assignment]
  try:
    import tensorboardX
  finally:
    if hidden:
      del sys.modules["torch"]
  return tensorboardX.SummaryWriter(folder, purge_step=purge_step)


class Progress:
  """A bar on a terminal; plain log lines elsewhere, for pods and files."""

  def __init__(self, *, start: int, total: int, primary: bool) -> None:
    self._total = total
    self._primary = primary
    self._bar = None
    if primary and sys.stderr.isatty():
      self._bar = tqdm.tqdm(
          total=total, initial=start, unit="step", dynamic_ncols=True,
          smoothing=0.1)

  def advance(self) -> None:
    """Counts one update."""
    if self._bar is not None:
      self._bar.update()

  def show(self, step: int, scalars: Mapping[str, float]) -> None:
    """Shows the numbers of a logged step."""
    if not self._primary:
      return
    text = describe(scalars)
    if self._bar is not None:
      self._bar.set_postfix_str(text)
    else:
      logging.info("step %d/%d  %s", step, self._total, text)

  def say(self, text: str) -> None:
    """Prints a line of its own, above the bar where there is one."""
    if not self._primary:
      return
    if self._bar is not None:
      self._bar.write(text, file=sys.stderr)
    else:
      logging.info(text)

  def close(self) -> None:
    """Leaves the bar where it stands."""
    if self._bar is not None:
      self._bar.close()


def describe(scalars: Mapping[str, float]) -> str:
  """Returns a short text of the numbers that a person watches."""
  parts = []
  for key, form in (
      ("train/loss", "loss {:.4f}"), ("train/accuracy", "acc {:.3f}"),
      ("train/learning_rate", "lr {:.2e}"),
      ("train/images_per_second", "{:.0f} img/s"),
      ("train/images_per_second_per_device", "{:.0f} img/s/device"),
      ("train/mfu", "MFU {:.1%}")):
    if scalars.get(key) is not None:
      parts.append(form.format(scalars[key]))
  eta = scalars.get("train/eta_seconds")
  if eta is not None:
    parts.append(f"ETA {duration(eta)}")
  return "  ".join(parts)


def duration(seconds: float) -> str:
  """Returns seconds as "3d 4h", "2h 05m", "3m 20s" or "12s"."""
  seconds = int(seconds)
  minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
  if days:
    return f"{days}d {hours % 24}h"
  if hours:
    return f"{hours}h {minutes % 60:02d}m"
  if minutes:
    return f"{minutes}m {seconds % 60:02d}s"
  return f"{seconds}s"


class Timer:
  """Sums seconds by name: compile, data, step, eval, save, restore."""

  def __init__(self) -> None:
    self.seconds: dict[str, float] = {}

  def __call__(self, name: str) -> "_Span":
    """Returns a context whose duration is added to `name`."""
    return _Span(self.seconds, name)


class _Span:

  def __init__(self, seconds: dict[str, float], name: str) -> None:
    self._seconds, self._name = seconds, name

  def __enter__(self) -> None:
    self._start = time.perf_counter()

  def __exit__(self, *_: object) -> None:
    spent = time.perf_counter() - self._start
    self._seconds[self._name] = self._seconds.get(self._name, 0.0) + spent

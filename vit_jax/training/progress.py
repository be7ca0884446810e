"""What a run shows while it works, and where its time goes."""

from collections.abc import Mapping
import sys
import time

from absl import logging

from vit_jax.data.progress_bar import is_watched, progress_bar
from vit_jax.metrics import duration
from vit_jax.training.watchdog import Watchdog


class Progress:
  """A bar for people who watch; log lines elsewhere, for pods and files."""

  def __init__(self, *, start: int, total: int, primary: bool) -> None:
    self._total = total
    self._primary = primary
    self._bar = None
    if primary and is_watched():
      self._bar = progress_bar(total=total, initial=start, unit="step")

  def advance(self) -> None:
    """Counts one update."""
    if self._bar is not None:
      self._bar.update()

  def show(self, step: int, scalars: Mapping[str, float]) -> None:
    """Shows the numbers of a logged step."""
    if not self._primary:
      return
    text = progress_text(scalars)
    if self._bar is not None:
      self._bar.set_postfix_str(text)
    else:
      logging.info("step %d/%d  %s", step, self._total, text)

  def say(self, text: str) -> None:
    """Prints a line of its own, above the bar where there is one."""
    if not self._primary:
      return
    # The verbs' log lines have the time, and keep clear of the bar. Elsewhere
    # they may not be shown at all.
    if self._bar is not None and logging.get_verbosity() < logging.INFO:
      self._bar.write(text, file=sys.stderr)
    else:
      logging.info(text)

  def close(self) -> None:
    """Leaves the bar where it stands."""
    if self._bar is not None:
      self._bar.close()


def progress_text(scalars: Mapping[str, float]) -> str:
  """Returns a logged step's numbers as a short text for people."""
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


class Timer:
  """Sums seconds by name: compile, data, step, eval, save, restore."""

  def __init__(self) -> None:
    self.seconds: dict[str, float] = {}
    self.watchdog: Watchdog | None = None  # told of every part

  def __call__(self, name: str) -> "_Span":
    """Returns a context whose duration is added to `name`."""
    return _Span(self, name)


class _Span:

  def __init__(self, timer: Timer, name: str) -> None:
    self._timer, self._name = timer, name

  def __enter__(self) -> None:
    if self._timer.watchdog:
      self._timer.watchdog.begin(self._name)
    self._start = time.perf_counter()

  def __exit__(self, *_: object) -> None:
    spent = time.perf_counter() - self._start
    if self._timer.watchdog:
      self._timer.watchdog.done(spent)
    seconds = self._timer.seconds
    seconds[self._name] = seconds.get(self._name, 0.0) + spent

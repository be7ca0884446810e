"""The progress bars of loops: on a terminal and in a notebook."""

import sys
from typing import Any
import warnings

import tqdm


class Bar(tqdm.tqdm):
  """A line of text without tqdm's watching thread, which outlives the bar."""

  monitor_interval = 0


def is_watched() -> bool:
  """Returns whether a person sees standard error: a terminal or a notebook."""
  stream = sys.stderr
  if stream is None:
    return False
  # The streams of a notebook's kernel are no terminals.
  return stream.isatty() or type(stream).__module__.startswith("ipykernel")


def progress_bar(
    *, total: int, unit: str, what: str | None = None, initial: int = 0,
    show: bool | None = None, leave: bool = True,
) -> Any:
  """Returns a bar of tqdm: a widget in a notebook, else a line of text.

  Args:
    total: things to do.
    unit: what one of them is called.
    what: stands before the bar.
    initial: things done before.
    show: None decides by `is_watched`.
    leave: the bar stays when it is done.
  """
  with warnings.catch_warnings():
    # A notebook without ipywidgets gets the line of text.
    warnings.simplefilter("ignore", tqdm.TqdmWarning)
    from tqdm import auto
  kind: Any = type("NotebookBar", (auto.tqdm,), {
      "monitor_interval": Bar.monitor_interval})
  return kind(
      total=total, desc=what, initial=initial, unit=unit, dynamic_ncols=True,
      smoothing=0.1, leave=leave,
      disable=not (is_watched() if show is None else show))

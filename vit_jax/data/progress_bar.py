"""The progress bar of loops: on a terminal and in a notebook."""

import sys
from typing import Any
import warnings


def is_watched() -> bool:
  """Returns whether a person sees standard error: a terminal or a notebook."""
  stream = sys.stderr
  if stream is None:
    return False
  # The streams of a notebook's kernel are no terminals.
  return stream.isatty() or type(stream).__module__.startswith("ipykernel")


def progress_bar(
    *, total: int, unit: str, initial: int = 0, show: bool | None = None,
) -> Any:
  """Returns a bar of tqdm: a widget in a notebook, else a line of text.

  Args:
    total: things to do.
    unit: what one of them is called.
    initial: things done before.
    show: None decides by `is_watched`.
  """
  import tqdm

  with warnings.catch_warnings():
    # A notebook without ipywidgets gets the line of text.
    warnings.simplefilter("ignore", tqdm.TqdmWarning)
    from tqdm import auto
  return auto.tqdm(
      total=total, initial=initial, unit=unit, dynamic_ncols=True,
      smoothing=0.1, disable=not (is_watched() if show is None else show))

"""A verb as a process of its own: what Ctrl-C and a crash do.

Imported before everything else, so it imports next to nothing.
"""

import faulthandler
import os
import signal
import sys
from types import FrameType

from vit_jax.errors import EXIT_INTERRUPTED


def set_up() -> None:
  """Lets Ctrl-C end this process quietly, with exit code 130.

  Python's own way is a KeyboardInterrupt wherever the program happens to be.
  While a verb works that is right: files are tidied up on the way out. It does
  no good in two places: an import (of jax and Orbax, for seconds) turns it into
  other errors or carries on without the module, and a callback of the garbage
  collector or a destructor prints it and carries on. There, the process ends at
  once. A second Ctrl-C always ends it at once.

  A crash in compiled code prints the Python lines that led to it.
  """
  faulthandler.enable()
  # Under nohup and in the background of a script, SIGINT stays ignored.
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _on_interrupt)
    sys.unraisablehook = _on_unraisable


def _on_interrupt(_: int, frame: FrameType | None) -> None:
  signal.signal(signal.SIGINT, signal.SIG_DFL)
  while frame is not None:
    if frame.f_code.co_filename.startswith("<frozen importlib"):
      os._exit(EXIT_INTERRUPTED)
    frame = frame.f_back
  raise KeyboardInterrupt


def _on_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
  """Handles an exception that Python can only print."""
  if issubclass(unraisable.exc_type, KeyboardInterrupt):
    os._exit(EXIT_INTERRUPTED)
  sys.__unraisablehook__(unraisable)

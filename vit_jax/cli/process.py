"""A verb as a process of its own: how it ends, by itself or by Ctrl-C.

Imported before everything else, so it imports next to nothing.
"""

import atexit
import faulthandler
import os
import select
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

from vit_jax.errors import EXIT_INTERRUPTED

PATIENCE = 3.0  # seconds that compiled code has to return after Ctrl-C

# Python tells its exit callbacks no code. 1 is that of an uncaught exception.
_exit_code = [1]


def set_up() -> None:
  """Makes Ctrl-C end this process quietly, with exit code 130.

  Python's own way is a KeyboardInterrupt in the main thread, wherever that
  happens to be. While a verb works this is right: files are tidied up on the
  way out. It fails in three places, and there the process ends at once:

  - An import, which for jax and Orbax takes seconds, turns the interrupt into
    other errors, or carries on without the module.
  - A callback of the garbage collector or a destructor prints it and carries
    on.
  - Compiled code, such as the compiler of a large model, does not return to
    Python for minutes; after some patience, or a second Ctrl-C.

  A crash in compiled code prints the Python lines that led to it.
  """
  _open_streams()
  faulthandler.enable()
  atexit.register(_leave)
  # Under nohup and in the background of a script, SIGINT stays ignored.
  if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
    return
  signal.signal(signal.SIGINT, _on_interrupt)
  sys.unraisablehook = _on_unraisable
  numbers, wakeup = os.pipe()
  os.set_blocking(wakeup, False)
  signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
  threading.Thread(
      target=_watch, args=(numbers,), name="interrupts", daemon=True).start()


def leave_with(code: int) -> NoReturn:
  """Ends the process that was set up here, as `sys.exit` does.

  At once where a save has failed: its threads wait for other processes of the
  job, and Python would wait for them.
  """
  _exit_code[0] = code
  if code and "vit_jax.training.orbax_threads" in sys.modules:
    from vit_jax.training import orbax_threads

    if orbax_threads.are_left():
      _leave()
  sys.exit(code)


def _leave() -> None:
  """Ends the process when its work, threads and exit callbacks are done.

  Registered first, this is the last of the callbacks: those of jax, Orbax and
  multiprocessing have run. What is left is taking the interpreter apart below
  the threads of compiled code, where a signal now and then becomes a crash.
  """
  for stream in (sys.stdout, sys.stderr):
    try:
      stream.flush()
    except (OSError, ValueError):  # The reader has gone, or it is closed.
      pass
  os._exit(_exit_code[0])


def _open_streams() -> None:
  """Makes standard output and error take every text.

  A daemon's may be closed. Where the encoding lacks a character, as ASCII does,
  or the name of a file is not text, it is escaped: k\\xe4se.
  """
  for name in ("stdout", "stderr"):
    stream = getattr(sys, name)
    if stream is None:
      setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
    elif stream.errors == "strict" or not stream.encoding.startswith("utf"):
      stream.reconfigure(errors="backslashreplace")


def _on_interrupt(_: int, frame: FrameType | None) -> None:
  """Runs in the main thread, between two instructions of Python."""
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


def _watch(numbers: int) -> None:
  """Ends the process if the main thread does not react to Ctrl-C.

  Args:
    numbers: file descriptor with the numbers of the signals that arrive.
  """
  while True:
    if os.read(numbers, 1)[0] == signal.SIGINT:
      select.select([numbers], [], [], PATIENCE)
      # Still in place: neither has it run, nor does training handle signals.
      if signal.getsignal(signal.SIGINT) is _on_interrupt:
        os._exit(EXIT_INTERRUPTED)

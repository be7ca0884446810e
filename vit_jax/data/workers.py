"""How many threads and processes load images on this machine."""

import os
import sys

BY_PROCESSORS = -1  # A number that follows the machine.
# Threads wait for storage as well as compute: even a small machine has some.
_FEWEST_THREADS = 16
# Beyond so many threads, one Python process is the limit, at 7,000 to 11,000
# images a second.
_THREADS_OF_A_PROCESS = 16
_MOST_PROCESSES = 16


def processors() -> int:
  """Returns the number of processors that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(
      os, "sched_getaffinity") else os.cpu_count() or 1


def choose(threads: int, workers: int) -> tuple[int, int]:
  """Returns (threads, worker processes), by the machine where they are -1.

  Worker processes import the main module again, which a script has to expect;
  unasked, only the package's own commands start them.

  Args:
    threads: in all, BY_PROCESSORS for at least 16, else one a processor.
    workers: BY_PROCESSORS for one each 16 processors from 32 on, else none.
  """
  count = processors()
  if workers == BY_PROCESSORS:
    many = count >= 2 * _THREADS_OF_A_PROCESS and _is_own_command()
    workers = min(count // _THREADS_OF_A_PROCESS, _MOST_PROCESSES) * many
  if threads == BY_PROCESSORS:
    threads = max(_FEWEST_THREADS, count)
  return threads, workers


def _is_own_command() -> bool:
  """Tells whether the process is `python -m vit_jax...`."""
  spec = getattr(sys.modules.get("__main__"), "__spec__", None)
  return spec is not None and spec.name.split(".")[0] == "vit_jax"

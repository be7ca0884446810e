"""Damages the files of one reader and tells how it takes them, as JSON.

  python tests/chaos/worker.py NAME SEED COUNT

Runs in a process of its own, with limits on memory and on the time of every
input, so that a crash or a hang is counted like anything else.
"""

import collections
import json
import os
import pathlib
import resource
import signal
import sys
import tempfile
import traceback
import warnings

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent), str(HERE)]

SECONDS = 20  # CPU time of an input
MEMORY = 2 << 30  # bytes beyond what the process has when it begins


class TooLong(BaseException):
  """An input took too long."""


def on_alarm(*_):
  raise TooLong


def outcome(read, whole, exact):
  """Returns how a damaged input was taken: a kind, and a detail."""
  from vit_jax.errors import UserError

  signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
  try:
    found = read()
    if exact and found != whole:
      return "silently other", ""
    return "read", ""
  except UserError as error:
    if "\n" in str(error) or len(str(error)) > 20_000:
      return "other", f"not one line: {str(error)[:300]!r}"
    return "refused", ""
  except TooLong:
    return "hang", ""
  except MemoryError:
    return "memory", traceback.format_exc()[-800:]
  except BaseException:
    return "other", traceback.format_exc()[-1500:]
  finally:
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def main(name, seed, count):
  import logging

  from damage import damaged
  import numpy as np
  from readers import READERS

  warnings.simplefilter("ignore")
  logging.disable(logging.CRITICAL)
  reader, exact = READERS[name]
  counts, details = collections.Counter(), []
  with tempfile.TemporaryDirectory() as folder:
    os.environ["VIT_JAX_CACHE"] = folder + "/cache"
    place = pathlib.Path(folder) / "run"
    place.mkdir()
    path, kinds, read = reader(place)
    original, whole = path.read_bytes(), read()
    with open("/proc/self/statm") as file:
      used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, -1))
    signal.signal(signal.SIGVTALRM, on_alarm)
    for number in range(count):
      rng = np.random.default_rng((seed, number))
      path.write_bytes(damaged(rng, original, kinds))
      kind, detail = outcome(read, whole, exact)
      counts[kind] += 1
      if kind not in ("read", "refused") and len(details) < 5:
        details.append(f"{name}, seed ({seed}, {number}): {kind} {detail}")
  print(json.dumps({"counts": counts, "details": details}))


if __name__ == "__main__":
  main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

"""A disk that fills up or fails: one line, and the same end once it is mended.

Real calls of a real process fail: `disk_shim.c` stands between it and the C
library, and lets them fail from the n-th on a file of the run.
"""

import collections
import errno
import shutil
import sys

import disk_shim
import numpy as np
import pytest
import short_run
import tally

# What fails: how often it is tried, the error, how many calls fail, and
# whether calls that read do too.
FAULTS = {
    "disk full": (40, errno.ENOSPC, None, False),
    "disk read-only": (20, errno.EROFS, None, False),
    "a write that fails once (EIO)": (30, errno.EIO, 1, False),
    "a disk that fails (EIO)": (20, errno.EIO, None, True),
    "a call that fails once (EIO), reads too": (30, errno.EIO, 1, True)}
# Done, in spite of it; the work failed; it will fail again.
CODES = {0, 1, 3}


def run(workdir, seconds=200, **fault):
  """Runs with a failing disk: its exit code, errors and number of calls."""
  disk = disk_shim.Disk(workdir, workdir.with_suffix(".counts"))
  code, errors = short_run.finish(
      workdir, seconds, **disk.variables(**fault))
  return code, errors, disk.counts()[0]


@pytest.mark.chaos
@pytest.mark.parametrize("name", FAULTS)
def test_disk(straight, tmp_path, name, seed, scale):
  count, number, fails, reads = FAULTS[name]
  (tmp_path / "all").mkdir()
  code, errors, calls = run(tmp_path / "all", reads=reads)
  assert code == 0 and calls > 1000, errors
  counts, examples = collections.Counter(), []
  for case in range(max(1, round(count * scale))):
    rng = np.random.default_rng((seed, case, len(name)))
    workdir = tmp_path / str(case)
    workdir.mkdir()
    at = int(rng.integers(calls))
    fault = dict(at=at, errno=number) | ({"count": fails} if fails else {})
    code, errors, _ = run(workdir, seconds=100, reads=reads, **fault)
    kind, detail = short_run.outcome(
        workdir, straight[0], code, errors, CODES)
    if kind == "the same" and code and len(
        [x for x in errors.splitlines() if x.startswith("vit_jax: ")]) != 1:
      kind, detail = "other", f"not one line: {errors[-1500:]}"
    counts[kind] += 1
    if kind not in tally.GOOD:
      examples.append(f"{name} {case}, call {at} of {calls}: {kind} {detail}")
      print(examples[-1], file=sys.stderr, flush=True)
    shutil.rmtree(workdir)
  tally.add(name, counts, examples)

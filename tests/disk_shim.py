"""Counts what a process does on its disk, and lets it fail: see disk_shim.c."""

import functools
import pathlib
import shutil
import struct
import subprocess
import tempfile

import pytest

SOURCE = pathlib.Path(__file__).with_suffix(".c")


@functools.cache
def _library():
  """Returns the compiled library; skips the test where nothing compiles it."""
  compiler = shutil.which("cc") or shutil.which("gcc")
  if not compiler:
    pytest.skip("no C compiler")
  path = pathlib.Path(tempfile.mkdtemp(prefix="disk_shim_")) / "shim.so"
  subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", path, SOURCE,
                  "-ldl"], check=True)
  return path


class Disk:
  """The files below a folder, as one or several processes use them."""

  def __init__(self, folder, counts):
    """Takes the folder, and a file for the counts, which lies outside."""
    self._folder, self._counts = folder, counts
    counts.write_bytes(bytes(24))

  def variables(self, *, reads=False, **fault):
    """Returns what is added to a process's environment.

    Args:
      reads: whether calls that read are counted and fail, too.
      **fault: at, errno and count, as in disk_shim.c.
    """
    found = {"LD_PRELOAD": str(_library()), "DISK_PREFIX": str(self._folder),
             "DISK_COUNTS": str(self._counts)}
    found |= {f"FAULT_{k.upper()}": str(v) for k, v in fault.items()}
    return found | ({"FAULT_READS": "1"} if reads else {})

  def counts(self):
    """Returns calls, files opened for reading, and bytes read so far."""
    return struct.unpack("qqq", self._counts.read_bytes())

"""How much is tried, from which seed, and the table of what came of it."""

import os
import pathlib
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import short_run  # noqa: E402
import tally  # noqa: E402


@pytest.fixture(scope="session")
def seed():
  """CHAOS_SEED, else always the same."""
  return int(os.environ.get("CHAOS_SEED", "0"))


@pytest.fixture(scope="session")
def scale():
  """CHAOS_SCALE: 1 for all that is promised, less for a quick look."""
  return float(os.environ.get("CHAOS_SCALE", "1"))


@pytest.fixture(scope="session")
def straight(tmp_path_factory):
  """A run that nobody disturbed, and how long it takes."""
  workdir = tmp_path_factory.mktemp("straight")
  code, errors = short_run.finish(workdir)  # Fills the cache of programs too.
  assert code == 0, errors
  again = tmp_path_factory.mktemp("again")
  begin = time.monotonic()
  assert short_run.finish(again)[0] == 0
  return workdir, time.monotonic() - begin


def pytest_terminal_summary(terminalreporter):
  if tally.rows:
    seed = os.environ.get("CHAOS_SEED", "0")
    terminalreporter.section(f"faults (CHAOS_SEED={seed})")
    for line in tally.table():
      terminalreporter.write_line(line)

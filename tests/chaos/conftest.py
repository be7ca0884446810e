"""How much is tried, from which seed, and the table of what came of it."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import tally  # noqa: E402


@pytest.fixture(scope="session")
def seed():
  """CHAOS_SEED, else always the same."""
  return int(os.environ.get("CHAOS_SEED", "0"))


@pytest.fixture(scope="session")
def scale():
  """CHAOS_SCALE: 1 for all that is promised, less for a quick look."""
  return float(os.environ.get("CHAOS_SCALE", "1"))


def pytest_terminal_summary(terminalreporter):
  if tally.rows:
    seed = os.environ.get("CHAOS_SEED", "0")
    terminalreporter.section(f"faults (CHAOS_SEED={seed})")
    for line in tally.table():
      terminalreporter.write_line(line)

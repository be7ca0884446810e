"""What other packages log about their failed threads is short, and said once.
"""

import logging
import sys

import pytest

from vit_jax.cli import logs


@pytest.fixture
def progress():
  """Log lines as in training; the root logger is as before afterwards."""
  root = logging.getLogger()
  before, level = root.handlers[:], root.level
  logs.show_progress()
  yield
  for handler in root.handlers[:]:
    root.removeHandler(handler)
  for handler in before:
    root.addHandler(handler)
  root.setLevel(level)


def failed(message, *args):
  """Logs a failure as a thread of another package does."""
  try:
    raise ValueError("cannot open 'x'\nfor writing: " + "{json} " * 500)
  except ValueError:
    record = logging.getLogger().makeRecord(
        "absl", logging.ERROR, "/site-packages/orbax/future.py", 1, message,
        args, sys.exc_info())
  logging.getLogger().handle(record)


def test_an_exception_of_another_package_is_short_and_there_once(
    progress, capfd):
  for thread in ("a", "b"):
    failed("[thread=%s] run() raised: %s", thread, "{json} " * 500)
  lines = capfd.readouterr().err.splitlines()
  assert len(lines) == 2
  assert "thread=a" in lines[0]
  assert "ValueError: cannot open 'x' for writing" in lines[1]
  assert max(map(len, lines)) <= 302


def test_a_warning_is_one_line_whatever_a_name_in_it_holds(progress, capfd):
  logs.show_warnings()
  logging.getLogger().error("%s: not read", "a\nb\x1b[2J.png")
  assert capfd.readouterr().err == (
      "vit_jax: error: a\\nb\\x1b[2J.png: not read\n")

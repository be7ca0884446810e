"""Threads and worker processes follow the machine's processors."""

import sys
import types

import pytest

from vit_jax.data import workers


@pytest.fixture
def machine(monkeypatch):
  def make(count, main="vit_jax.main"):
    monkeypatch.setattr(workers, "processors", lambda: count)
    spec = types.SimpleNamespace(name=main) if main else None
    monkeypatch.setitem(
        sys.modules, "__main__", types.SimpleNamespace(__spec__=spec))
  return make


@pytest.mark.parametrize("count,chosen", [
    (2, (16, 0)), (24, (24, 0)), (32, (32, 2)), (112, (112, 7)),
    (224, (224, 14)), (999, (999, 16))])
def test_the_default_follows_the_processors(machine, count, chosen):
  machine(count)
  assert workers.choose(-1, -1) == chosen


def test_what_is_given_stays(machine):
  machine(224)
  assert workers.choose(3, 0) == (3, 0)
  assert workers.choose(0, 5) == (0, 5)
  assert workers.choose(-1, 0) == (224, 0)


@pytest.mark.parametrize("main", ["", "my_script", "pytest.__main__"])
def test_other_scripts_start_no_processes_unasked(machine, main):
  # They would import the script again, and run it.
  machine(224, main)
  assert workers.choose(-1, -1) == (224, 0)
  assert workers.choose(-1, 7) == (224, 7)


def test_this_machine():
  assert workers.processors() >= 1

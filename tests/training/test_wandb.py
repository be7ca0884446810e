"""Weights & Biases gets the numbers of the record, in one run for a workdir."""

import importlib.util
import json
import os
import pathlib
import struct
import subprocess
import sys
import types

import pytest

from vit_jax.errors import UserError
from vit_jax.metrics import read_record
from vit_jax.training import loop

ROOT = pathlib.Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location(
    "tiny_config", ROOT / "tests" / "tiny_config.py")
TINY = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(TINY)


def tiny(project="birds", **train):
  config = TINY.get_config()
  config.train.update(**dict(
      steps=4, eval_every=2, log_every=1, wandb=project) | train)
  config.model.depth = 1
  config.optim.update(warmup_steps=1)
  return config


class Package(types.ModuleType):
  """Stands in for the package: what it was asked, and what was logged."""

  class Error(Exception):
    """As wandb.Error, the base of all its errors."""

  def __init__(self):
    super().__init__("wandb")
    self.runs, self.error = [], None

  def init(self, **options):
    if self.error:
      raise self.Error(self.error)
    run = types.SimpleNamespace(options=options, lines=[], finished=False)
    run.log = lambda data, step: run.lines.append((step, data))
    run.finish = lambda: setattr(run, "finished", True)
    self.runs.append(run)
    return run


@pytest.fixture
def package(monkeypatch):
  package = Package()
  monkeypatch.setitem(sys.modules, "wandb", package)
  return package


def test_every_number_of_the_record_is_logged_in_order(tmp_path, package):
  workdir = tmp_path / "my birds"
  loop.train(tiny(), str(workdir))
  run, = package.runs
  assert run.finished
  assert run.options["project"] == "birds"
  assert run.options["name"] == "my birds"
  assert run.options["dir"] == str(workdir)
  assert run.options["config"]["train"]["steps"] == 4
  record = read_record(str(workdir))
  assert [(line.pop("step"), line) for line in record] == run.lines
  steps = [step for step, _ in run.lines]
  assert steps == sorted(steps) and set(steps) == {1, 2, 3, 4}
  assert "eval/val/accuracy" in run.lines[-1][1]


@pytest.mark.thorough
def test_a_resumed_run_is_the_same_run_and_another_workdir_another(
    tmp_path, package, stopped_at):
  with stopped_at(2):
    loop.train(tiny(), str(tmp_path / "a"))
  loop.train(tiny(), str(tmp_path / "a"))
  loop.train(tiny(), str(tmp_path / "b"))
  loop.train(tiny(), str(tmp_path / "b"))  # Finished: nothing is started.
  first, second, other = package.runs
  assert first.options["id"] == second.options["id"] != other.options["id"]
  assert {run.options["resume"] for run in package.runs} == {"allow"}
  # What was owed at the stop, the evaluation of step 2, is added to its step.
  assert [step for step, _ in first.lines] == [1, 2]
  assert [step for step, _ in second.lines] == [2, 3, 4, 4]
  assert not first.lines[-1][1].keys() & second.lines[0][1].keys()


@pytest.mark.slow
def test_the_project_can_change_when_a_run_is_resumed(
    tmp_path, package, stopped_at):
  with stopped_at(2):
    loop.train(tiny(""), str(tmp_path))
  assert not package.runs
  loop.train(tiny("birds"), str(tmp_path))
  assert len(package.runs) == 1


@pytest.mark.parametrize("module", [None, types.ModuleType("wandb")])
def test_without_the_package_one_line_says_how_to_get_it(
    tmp_path, monkeypatch, module):
  monkeypatch.setitem(sys.modules, "wandb", module)
  with pytest.raises(UserError, match="wandb='birds'.*pip install wandb") as (
      error):
    loop.train(tiny(), str(tmp_path / "with"))
  assert "\n" not in str(error.value)
  # It is not looked for where nobody asks.
  assert loop.train(tiny(""), str(tmp_path / "without")).finished


def test_a_run_that_cannot_start_is_one_line(tmp_path, package):
  package.error = "api_key not configured (no-tty).\nCall wandb.login()"
  with pytest.raises(
      UserError, match=r"not configured \(no-tty\).*WANDB_MODE=offl") as error:
    loop.train(tiny(), str(tmp_path))
  assert "\n" not in str(error.value)


@pytest.mark.slow
def test_the_package_itself_stores_all_numbers_offline(tmp_path):
  pytest.importorskip("wandb", reason="wandb is not installed")
  environment = os.environ | {"WANDB_MODE": "offline"}
  for _ in range(2):  # The second finds a finished run and starts none.
    done = subprocess.run(
        [sys.executable, "-m", "vit_jax.main", f"--workdir={tmp_path}",
         f"--config={ROOT / 'tests' / 'tiny_config.py'}",
         "--config.train.steps=4", "--config.model.depth=1",
         "--config.optim.warmup_steps=1", "--config.train.eval_every=2",
         "--config.train.wandb=birds"], cwd=ROOT, env=environment,
        capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
  name = (tmp_path / "wandb_id.txt").read_text().strip()
  stored, = (tmp_path / "wandb").glob(f"offline-run-*/run-{name}.wandb")
  from wandb.proto import wandb_internal_pb2

  logged = {}
  for message in stored_messages(stored.read_bytes()):
    record = wandb_internal_pb2.Record.FromString(message)
    values = {"/".join(item.nested_key) or item.key: json.loads(item.value_json)
              for item in record.history.item}
    if values:
      logged[values["_step"]] = values
  record = {}
  for line in read_record(str(tmp_path)):
    record.setdefault(line.pop("step"), {}).update(line)
  assert set(logged) == set(record) == {1, 2, 3, 4}
  for step, values in record.items():
    assert values.items() <= logged[step].items()


def stored_messages(content):
  """Yields the messages of a .wandb file: a log of LevelDB, after 7 bytes.

  Blocks of 32 KiB hold pieces: checksum (4 bytes), length (2), kind (1: whole,
  2 to 4: first, middle and last part), content.
  """
  place, parts = 7, []
  while place + 7 <= len(content):
    left = 32768 - place % 32768
    if left < 7:  # Too short for a piece.
      place += left
      continue
    length, kind = struct.unpack_from("<HB", content, place + 4)
    parts.append(content[place + 7:place + 7 + length])
    place += 7 + length
    if kind in (1, 4):
      yield b"".join(parts)
      parts = []

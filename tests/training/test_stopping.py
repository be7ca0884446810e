"""Saved before evaluated; what a stop prevents is done after the resume."""

import importlib.util
import pathlib

import pytest

from vit_jax.metrics import read_record
from vit_jax.training import loop

SPEC = importlib.util.spec_from_file_location(
    "tiny_config", pathlib.Path(__file__).parents[1] / "tiny_config.py")
TINY = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(TINY)


def tiny():
  config = TINY.get_config()
  config.model.depth = 1
  config.train.update(steps=6, eval_every=2)
  config.optim.update(warmup_steps=1)
  config.checkpoint.update(save_every=0)
  return config


def numbers(workdir):
  """The record without the clock."""
  return [{k: v for k, v in line.items()
           if not k.startswith("time/") and "second" not in k}
          for line in read_record(str(workdir))]


def steps_kept(workdir):
  return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir()
                if p.name.isdigit())


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("straight")
  assert loop.train(tiny(), str(workdir)).finished
  assert [x["step"] for x in numbers(workdir) if "eval/val/loss" in x] == [
      2, 4, 6]
  return workdir


def ends_the_same(workdir, straight):
  assert loop.train(tiny(), str(workdir)).finished
  assert numbers(workdir) == numbers(straight)
  assert (workdir / "model.npz").read_bytes() == (
      straight / "model.npz").read_bytes()
  assert (workdir / "model.json").read_bytes() == (
      straight / "model.json").read_bytes()


class Stop:
  """A signal that comes at a step, or only while a step is evaluated."""

  def __init__(self, at=None, evaluating=None):
    self.at, self.evaluating = at, evaluating
    self.interrupted, self._step = False, 0

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass

  def requested(self, step):
    self._step = step
    return self.at is not None and step >= self.at

  def here(self):
    return self._step == self.evaluating


@pytest.mark.parametrize("step, kind", [
    (4, "at"), pytest.param(6, "evaluating", marks=pytest.mark.slow),
    pytest.param(6, "at", marks=pytest.mark.thorough),
    pytest.param(4, "evaluating", marks=pytest.mark.thorough)])
def test_a_told_stop_waits_for_no_evaluation(
    straight, tmp_path, monkeypatch, kind, step):
  with monkeypatch.context() as patch:
    patch.setattr(loop, "StopSignal", lambda: Stop(**{kind: step}))
    result = loop.train(tiny(), str(tmp_path))
  assert (result.step, result.finished) == (step, False)
  assert steps_kept(tmp_path)[-1] == step
  assert not [x for x in numbers(tmp_path)
              if x["step"] == step and "eval/val/loss" in x]
  assert not (tmp_path / "model.npz").exists()
  ends_the_same(tmp_path, straight)


@pytest.mark.parametrize("step", [
    4, pytest.param(6, marks=pytest.mark.thorough)])
def test_the_failure_of_an_evaluator_loses_no_step(
    straight, tmp_path, monkeypatch, step):
  seen, real = [], loop.run_by_example

  def broken(*args):
    seen.append(1)
    if 2 * len(seen) == step:
      raise OSError("the disk with the pictures is gone")
    return real(*args)

  with monkeypatch.context() as patch:
    patch.setattr(loop, "run_by_example", broken)
    with pytest.raises(OSError, match="pictures is gone"):
      loop.train(tiny(), str(tmp_path))
  assert steps_kept(tmp_path)[-1] == step
  ends_the_same(tmp_path, straight)

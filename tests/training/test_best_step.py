"""The best step is kept, and a run that improves no more ends."""

import dataclasses
import importlib.util
import json
import pathlib

import numpy as np
import pytest

from vit_jax.errors import CheckpointError, UsageError
from vit_jax.metrics import read_record
from vit_jax.training import loop, setup, watch
from vit_jax.training.stored_params import restore_params
from vit_jax.weights.load import load

SPEC = importlib.util.spec_from_file_location(
    "tiny_config", pathlib.Path(__file__).parents[1] / "tiny_config.py")
TINY = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(TINY)


@pytest.mark.parametrize("metric, value, before, delta, expected", [
    ("val/accuracy", 0.5, None, 0.0, True),
    ("val/accuracy", 0.5, 0.5, 0.0, False),
    ("val/accuracy", 0.6, 0.5, 0.0, True),
    ("val/accuracy", 0.6, 0.5, 0.2, False),
    ("val/accuracy_top5", 0.6, 0.7, 0.0, False),
    ("val/loss", 0.6, 0.7, 0.0, True),
    ("val/loss", 0.6, 0.7, 0.2, False),
    ("calibration/ece", 0.2, 0.1, 0.0, False),
    ("calibration/nll", 0.1, 0.2, 0.0, True),
    ("val/loss", float("nan"), None, 0.0, False),
    ("val/loss", float("nan"), 3.0, 0.0, False)])
def test_better_is_higher_or_for_losses_lower(
    metric, value, before, delta, expected):
  assert watch.is_better(metric, value, before, delta) == expected


def test_patience_counts_evaluations_without_an_improvement():
  note = {}
  seen = watch.Watch(note, ["val/loss"], early_stopping="val/loss",
                     patience=2, min_delta=0.1)
  # The gain of a step is measured from the best value, not from the last one:
  # small steps that add up to more than min_delta are an improvement.
  for step, loss, waited in [
      (1, 1.0, 0), (2, 0.95, 1), (3, 0.85, 0), (4, 0.8, 1), (5, 2.0, 2)]:
    assert not seen.stopped
    assert not seen.update(step, {"val/loss": loss})
    assert note["early_stopping"]["waited"] == waited
  assert seen.stopped and seen.best_step is None
  assert seen.why_stopped() == (
      "val/loss has not improved by more than 0.1 in 2 evaluations, since step "
      "3 (0.8500)")


def test_a_metric_that_changes_starts_anew():
  note = {}
  watch.Watch(note, ["a/loss"], keep_best="a/loss").update(3, {"a/loss": 1.0})
  assert watch.Watch(note, ["a/loss"], keep_best="a/loss").best_step == 3
  other = watch.Watch(note, ["a/accuracy"], keep_best="a/accuracy")
  assert other.best_step is None
  assert other.update(4, {"a/accuracy": 0.1}) and other.best_step == 4


def tiny(**changes):
  config = TINY.get_config()
  config.train.update(steps=6, eval_every=1)
  config.model.depth = 1
  config.optim.update(warmup_steps=1)
  config.checkpoint.update(save_every=2, keep=1)
  for key, value in changes.items():
    section, name = key.split("__")
    config[section][name] = value
  return config


@pytest.fixture
def scripted(monkeypatch):
  """Sets the accuracy that each step's evaluation is to give."""
  def script(*accuracies):
    def evaluate(run, step, names, writer, progress, stop):
      del names, progress, stop
      score = accuracies[step - 1]
      writer.write(step, {"eval/val/accuracy": score})
      return {"val/accuracy": score}
    monkeypatch.setattr(loop, "evaluate", evaluate)
  return script


def steps_kept(workdir):
  return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir()
                if path.name.isdigit())


def average_of(workdir, step, config):
  run = setup.setup(config, str(workdir))
  run.checkpointer.close()
  return restore_params(
      str(workdir / "checkpoints" / str(step)), run.program.abstract.params)


@pytest.mark.parametrize("result, step", [
    pytest.param("best", 3, marks=pytest.mark.slow),
    pytest.param("last", 6, marks=pytest.mark.thorough)])
def test_the_best_step_stays_and_becomes_the_result(
    tmp_path, scripted, result, step):
  scripted(0.1, 0.5, 0.9, 0.7, 0.9, 0.8)
  config = tiny(checkpoint__keep_best="val/accuracy", train__result=result)
  loop.train(config, str(tmp_path))
  # Saved although no save was due at step 3, and kept beside the newest.
  assert steps_kept(tmp_path) == [3, 6]
  said = json.loads((tmp_path / "model.json").read_text())
  assert said["step"] == step
  assert said["scores"] == {
      "eval/val/accuracy": 0.9 if result == "best" else 0.8}
  written = load(tmp_path / "model.npz").params["head"]["kernel"]
  for kept in (3, 6):
    average = average_of(tmp_path, kept, config)["head"]["kernel"]
    assert np.array_equal(written, average) == (kept == step)


def test_without_the_key_only_the_newest_stay(tmp_path, scripted):
  scripted(0.1, 0.5, 0.9, 0.7, 0.9, 0.8)
  loop.train(tiny(), str(tmp_path))
  assert steps_kept(tmp_path) == [6]


def test_a_best_checkpoint_that_is_gone_is_named(tmp_path, scripted):
  scripted(0.1, 0.5, 0.9, 0.7, 0.9, 0.8)
  config = tiny(checkpoint__keep_best="val/accuracy", train__result="best")
  run = setup.setup(config, str(tmp_path))
  run.checkpointer.best_step = 3
  with pytest.raises(CheckpointError, match="/3, the best one.*result=last"):
    run.checkpointer.restore_best(run.program.abstract.params)
  run.checkpointer.close()


EARLY = dict(train__early_stopping="val/accuracy", train__patience=2,
             checkpoint__keep_best="val/accuracy", train__result="best")


@pytest.mark.slow
def test_early_stopping_ends_a_run_and_resuming_changes_nothing(
    tmp_path, scripted, stopped_at, caplog):
  scripted(0.1, 0.5, 0.4, 0.45, 0.9, 0.9)
  straight, resumed = tmp_path / "straight", tmp_path / "resumed"
  caplog.set_level("INFO", logger="absl")
  result = loop.train(tiny(**EARLY), str(straight))
  assert (result.step, result.finished) == (4, True)
  assert ("stopped early, after step 4 of 6: val/accuracy has not improved in "
          "2 evaluations, since step 2 (0.5000)") in caplog.text
  assert json.loads((straight / "model.json").read_text())["step"] == 2
  assert steps_kept(straight) == [2, 4]
  # A finished run is recognised.
  assert loop.train(tiny(**EARLY), str(straight)) == result
  # Told to stop after its first evaluation without an improvement.
  with stopped_at(3):
    assert not loop.train(tiny(**EARLY), str(resumed)).finished
  assert dataclasses.replace(
      loop.train(tiny(**EARLY), str(resumed)),
      workdir=str(straight)) == result
  assert (resumed / "model.npz").read_bytes() == (
      straight / "model.npz").read_bytes()
  # Killed when it had stopped but not written the result.
  (resumed / "model.npz").unlink()
  (resumed / "model.json").unlink()
  assert dataclasses.replace(
      loop.train(tiny(**EARLY), str(resumed)),
      workdir=str(straight)) == result
  assert (resumed / "model.npz").read_bytes() == (
      straight / "model.npz").read_bytes()
  assert [x["step"] for x in read_record(str(resumed))
          if "eval/val/accuracy" in x] == [1, 2, 3, 4]


@pytest.mark.parametrize("changes, message", [
    (dict(checkpoint__keep_best="val/acuracy"),
     "keep_best='val/acuracy'.*did you mean 'val/accuracy'.*val/loss"),
    (dict(train__early_stopping="dev/loss"),
     "early_stopping='dev/loss' is no metric of config.evals.*val/loss"),
    (dict(train__early_stopping="val/loss", train__eval_every=0),
     "eval_every=0"),
    (dict(train__min_delta=-1.0), "min_delta=-1.0"),
    (dict(train__patience=0), "patience=0 must be positive"),
    (dict(train__result="best"), "needs config.checkpoint.keep_best"),
    (dict(train__result="newest"), "it is last or best")])
def test_wrong_keys_are_refused_before_the_first_step(
    tmp_path, changes, message):
  with pytest.raises(UsageError, match=message) as error:
    loop.train(tiny(**changes), str(tmp_path))
  assert "\n" not in str(error.value)
  assert not read_record(str(tmp_path))

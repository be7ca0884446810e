"""The loop's promises: divergence, stopping, steps, evaluation, record."""

import importlib.util
import json
import logging
import pathlib
import re

import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.errors import UserError
from vit_jax.metrics import duration, read_record
from vit_jax.training import loop, setup, step_log
from vit_jax.training.metric_writer import MetricWriter
from vit_jax.training.profiling import ProfileWindow

SPEC = importlib.util.spec_from_file_location(
    "tiny_config", pathlib.Path(__file__).parents[1] / "tiny_config.py")
TINY = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(TINY)


def tiny(**changes):
  config = TINY.get_config()
  config.train.update(steps=4, eval_every=0)
  config.optim.update(warmup_steps=1)
  config.checkpoint.update(save_every=2)
  for key, value in changes.items():
    section, name = key.split("__")
    config[section][name] = value
  return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("run")
  return workdir, loop.train(tiny(), str(workdir))


def test_exactly_total_updates_and_the_files(finished):
  workdir, result = finished
  assert (result.step, result.finished) == (4, True)
  steps = [x["step"] for x in read_record(str(workdir)) if "train/loss" in x]
  assert steps == [1, 2, 3, 4]
  for name in ("config.json", "metrics.jsonl", "tensorboard", "model.npz",
               "model.json", "checkpoints/4"):
    assert (workdir / name).exists(), name


def test_every_validation_example_is_counted_once(finished):
  workdir, result = finished
  from vit_jax.data.sources import make_source

  expected = len(make_source("digits", split="val"))
  assert result.scores["eval/val/examples"] == expected
  assert expected % 32 != 0  # Or nothing would have been padded.


def test_the_newest_scores_in_detail(finished):
  workdir, result = finished
  details = json.loads((workdir / "eval" / "val.json").read_text())
  assert details["step"] == 4
  matrix = np.array(details["confusion_matrix"])
  assert matrix.sum() == result.scores["eval/val/examples"]
  assert np.trace(matrix) / matrix.sum() == pytest.approx(
      result.scores["eval/val/accuracy"])
  assert result.scores["eval/val/ece"] == details["ece"]
  for key in ("accuracy_class_mean", "accuracy_class_min"):
    assert result.scores[f"eval/val/{key}"] == details[key]
  assert len(details["mistakes"]) == 100
  assert details["mistakes_left_out"] == matrix.sum() - np.trace(matrix) - 100
  # The record keeps single numbers.
  assert not any(isinstance(value, list | dict)
                 for line in read_record(str(workdir))
                 for value in line.values())


def test_the_record_has_the_names_that_scripts_rely_on(finished):
  line = read_record(str(finished[0]))[-2]
  for key in ("step", "train/loss", "train/accuracy", "train/learning_rate",
              "train/grad_norm", "train/images_per_second",
              "train/images_per_second_per_device", "train/eta_seconds"):
    assert key in line, key


def test_model_json_describes_the_average_that_was_evaluated(finished):
  workdir, result = finished
  import vit_jax

  said = json.loads((workdir / "model.json").read_text())
  assert said["class_names"] == [str(i) for i in range(10)]
  assert said["scores"]["eval/val/accuracy"] == result.scores[
      "eval/val/accuracy"]
  assert said["step"] == 4 and said["averaged"] is True
  vit = vit_jax.load(workdir / "model.npz")
  assert vit.model.width == 32
  np.testing.assert_array_equal(
      vit.params["head"]["bias"].shape, (10,))


@pytest.mark.parametrize("weights, counts", [
    ("balanced", True), (tuple(range(10)), False)])
def test_class_weights_of_a_config_reach_the_loss(
    tmp_path, monkeypatch, weights, counts):
  from vit_jax.data.sources import make_source
  from vit_jax.training import program

  seen = {}
  make_loss = program.make_loss
  monkeypatch.setattr(program, "make_loss", lambda model, **options: (
      seen.update(options), make_loss(model, **options))[1])
  config = tiny(objective__class_weights=weights)
  setup.setup(config, str(tmp_path)).checkpointer.close()
  assert seen["class_weights"] == weights
  if counts:
    assert sum(seen["class_counts"]) == len(make_source(
        "digits", split="train"))
  else:
    assert seen["class_counts"] is None


@pytest.mark.parametrize("decay, words", [
    pytest.param(0.9, "step 2/2  val (averaged weights): accuracy",
                 marks=pytest.mark.slow),
    pytest.param(None, "step 2/2  val: accuracy",
                 marks=pytest.mark.thorough)])
def test_scores_say_that_they_are_of_averaged_weights(
    tmp_path, caplog, decay, words):
  config = tiny(train__steps=2, train__ema_decay=decay)
  with caplog.at_level(logging.INFO, logger="absl"):
    loop.train(config, str(tmp_path))
  assert words in caplog.text
  assert json.loads((tmp_path / "model.json").read_text())["averaged"] == (
      decay is not None)


def test_infinite_loss_stops_names_the_step_and_keeps_the_last_good(tmp_path):
  config = tiny(train__steps=40, optim__schedule="constant",
                optim__learning_rate=1e30, optim__warmup_steps=20,
                checkpoint__save_every=1)
  with pytest.raises(
      step_log.TrainingDiverged, match=r"at step (\d+)") as error:
    loop.train(config, str(tmp_path))
  message = str(error.value)
  step = int(re.search(r"at step (\d+)", message)[1])
  assert "Lower config.optim.learning_rate" in message
  assert "\n" not in message
  kept = sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir()
                if p.name.isdigit())
  assert kept and kept[-1] == step - 1
  assert f"The checkpoint of step {kept[-1]} is kept" in message
  run = setup.setup(config, str(tmp_path))
  run.checkpointer.close()
  assert run.start == kept[-1]
  assert not (tmp_path / "model.npz").exists()


def test_told_to_stop_it_saves_and_resumes_the_same(
    finished, tmp_path, stopped_at):
  with stopped_at(3):
    result = loop.train(tiny(), str(tmp_path))
  assert (result.step, result.finished) == (3, False)
  assert (tmp_path / "checkpoints" / "3").is_dir()
  assert loop.train(tiny(), str(tmp_path)).finished
  assert (tmp_path / "model.npz").read_bytes() == (
      finished[0] / "model.npz").read_bytes()


def test_a_finished_run_is_left_unchanged(finished, caplog):
  workdir, result = finished
  before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
  with caplog.at_level(logging.INFO, logger="absl"):
    assert loop.train(tiny(), str(workdir)) == result
  assert "all 4 steps are done" in caplog.text
  assert before == {
      path: path.stat().st_mtime_ns for path in workdir.rglob("*")}


def test_a_workdir_of_another_run_is_refused(finished):
  with pytest.raises(UserError, match="belongs to another run.*train.seed"):
    loop.train(tiny(train__seed=5), str(finished[0]))


def test_other_data_are_refused(finished, monkeypatch):
  monkeypatch.setattr(
      setup.sources, "fingerprint", lambda _: "something else")
  with pytest.raises(UserError, match="not the data set"):
    setup.setup(tiny(), str(finished[0]))


def test_finetuning_starts_from_the_model_at_higher_resolution(
    finished, tmp_path):
  config = tiny(
      init__path=str(finished[0] / "model.npz"), data__image_size=12,
      data__preprocess="resize({size})", optim__name="sgd")
  run = setup.setup(config, str(tmp_path))
  table = run.state.params["Transformer"]["posembed_input"]["pos_embedding"]
  assert table.shape == (1, 10, 32)
  assert not np.any(run.state.params["head"]["kernel"])
  assert run.note["init"]["path"].endswith("model.npz")
  assert len(run.note["init"]["sha256"]) == 64
  run.checkpointer.close()


@pytest.mark.parametrize("changes, message", [
    (dict(train__profile_steps=(4, 4)), "profile_steps"),
    (dict(data__preprocess="resize(9)"), "9x9, image_size is 8x8")])
def test_a_run_that_fails_at_once_closes_what_it_opened(
    changes, message, tmp_path):
  # See conftest.py: no thread may be left.
  with pytest.raises(UserError, match=message):
    loop.train(tiny(**changes), str(tmp_path))


def test_a_record_that_cannot_be_opened_closes_the_checkpoints(tmp_path):
  (tmp_path / "metrics.jsonl" / "x").mkdir(parents=True)
  with pytest.raises((UserError, IsADirectoryError)):
    loop.train(tiny(), str(tmp_path))


def test_a_window_of_steps_is_traced(tmp_path):
  window = ProfileWindow(str(tmp_path), (2, 4), primary=True)
  for step in range(6):
    window.at(step, jnp.ones(3) * step)
  window.close()
  assert list((tmp_path / "profile").rglob("*.xplane.pb"))
  silent = ProfileWindow(str(tmp_path / "other"), (2, 4), primary=False)
  silent.at(2)
  assert not (tmp_path / "other").exists()
  with pytest.raises(UserError, match="profile_steps"):
    ProfileWindow(str(tmp_path), (4, 4), primary=True)


def test_the_record_is_cut_back_to_the_restored_step(tmp_path):
  writer = MetricWriter(str(tmp_path), start_step=0, primary=True)
  for step in (1, 2, 3):
    writer.write(step, {"train/loss": float(step)})
  writer.close()
  with open(tmp_path / "metrics.jsonl", "a") as file:
    file.write('{"step": 4, "train/lo')  # Torn by a kill.
  MetricWriter(str(tmp_path), start_step=2, primary=True).close()
  assert [x["step"] for x in read_record(str(tmp_path))] == [1, 2]


def test_only_the_primary_writes(tmp_path):
  writer = MetricWriter(str(tmp_path), start_step=0, primary=False)
  writer.write(1, {"train/loss": 1.0})
  writer.close()
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seconds, text", [
    (5, "5s"), (65, "1m 05s"), (3 * 3600 + 60, "3h 01m"),
    (2 * 86400 + 7200, "2d 2h")])
def test_durations_read_well(seconds, text):
  assert duration(seconds) == text

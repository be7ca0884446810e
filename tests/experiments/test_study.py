"""Studies: rows, seeds, stages, resumption, and every one in its small form."""

import json
import pathlib

import pytest

from vit_jax.__main__ import main
from vit_jax.config import schema
from vit_jax.config.find import load_config
from vit_jax.errors import UsageError
from vit_jax.experiments import study as studies
from vit_jax.experiments import study_runs
from vit_jax.experiments.study import (
  Row,
  Study,
  StudyOutcome,
  TrainingStage,
)
from vit_jax.experiments.study_figure import (
  caption,
  series_points,
  write_figure,
)
from vit_jax.experiments.study_table import study_table

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
STUDIES = ("posemb_ablation", "heads", "shapes", "data_scaling", "axial",
           "masked_patch", "adam_sgd")
SHORT = ("--config.train.steps=2", "--config.optim.warmup_steps=1",
         "--config.train.eval_every=2", "--config.train.report=False",
         "--config.data.num_threads=2")
TINY = (*SHORT, "--config.model.width=16", "--config.model.num_heads=2",
        "--config.model.mlp_dim=16", "--config.model.depth=1")


def read(name, arg=""):
  return studies.read_study(str(CONFIGS / f"{name}.py"), arg)


@pytest.mark.parametrize("name, arg", [
    *((name, arg) for name in STUDIES for arg in ("", "digits")),
    ("two_recipes", ""), ("two_recipes", "fashion_mnist"),
    *((name, "fashion_mnist") for name in STUDIES if name != "masked_patch")])
def test_every_stage_of_every_row_is_a_config(name, arg):
  study = read(name, arg)
  seen = set()
  for row in study.rows.values():
    runs = []
    for stage in row.stages:
      config = load_config([
          f"--config={stage.file or CONFIGS / f'{name}.py'}:{stage.arg}",
          *(f"--config.{k}={v}" for k, v in stage.changes.items())])
      runs.append(schema.resolve(config).to_json_best_effort())
    assert (*runs,) not in seen, "two rows are the same"
    seen.add((*runs,))
    where = study.metric.split("/")[1]
    assert where in config.evals or name == "masked_patch"


def fake_training(monkeypatch, score=lambda config: 0.5, stop_at=None):
  """Replaces the training; returns the list of (workdir, config)."""
  seen = []

  class Result:
    def __init__(self, config):
      self.finished = len(seen) != stop_at
      self.scores = {
          f"eval/{name}/{key}": value for name in ("test", "val")
        for key, value in (("accuracy", score(config)), ("examples", 360))}

  def train(config, workdir):
    seen.append((workdir, config))
    result = Result(config)
    folder = pathlib.Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text(
        json.dumps({"step": 2, "time/productive": 6.0,
                    "time/goodput": 2 / 3, **result.scores}) + "\n")
    return result

  monkeypatch.setattr(study_runs, "train", train)
  return seen


def run_two_rows(name, tmp_path, tiny):
  """Runs the command of a study with its first two rows."""
  study = read(name, "digits")
  rows = list(study.rows)[:2]
  assert main([
      "study", f"--config={CONFIGS / name}.py:digits",
      f"--workdir={tmp_path}", f"--rows={';'.join(rows)}",
      f"--record={tmp_path}/record.json", "--size=two rows", *tiny]) == 0
  return study, rows


@pytest.mark.parametrize("name", STUDIES)
def test_one_command_runs_it_and_prints_its_table(
    name, tmp_path, capsys, monkeypatch):
  seen = fake_training(monkeypatch)
  study, rows = run_two_rows(name, tmp_path, SHORT)
  assert len({workdir for workdir, _ in seen}) == len(
      {(s.folder or row, n) for row in rows
       for n, s in enumerate(study.rows[row].stages)})
  printed = capsys.readouterr().out
  assert study.title in printed and study.source in printed
  for row in rows:
    assert row in printed
  result = json.loads((tmp_path / "record.json").read_text())
  assert result["experiment"] == "record" and set(result["scores"]) == set(rows)
  assert result["size"] == "two rows" and "--record" not in result["command"]
  assert result["examples"] == 360
  # 9 seconds a run, also of a run that two rows share.
  assert result["seconds"] == 9 * len({workdir for workdir, _ in seen})
  assert f"'--rows={';'.join(rows)}'" in result["command"]  # for a shell
  assert all(one["mean"] == 0.5 for one in result["scores"].values())
  assert (tmp_path / "study.png").exists() == bool(study.x_label)
  assert rows[0] in (tmp_path / "study.md").read_text()


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.slow if name == "masked_patch"
                 else pytest.mark.thorough) for name in STUDIES])
def test_two_rows_are_trained_once(name, tmp_path, capsys, monkeypatch):
  # A ResNet has no width to be made smaller.
  tiny = SHORT if name == "adam_sgd" else TINY
  study, rows = run_two_rows(name, tmp_path, tiny)
  printed = capsys.readouterr().out
  result = json.loads((tmp_path / "record.json").read_text())
  assert set(result["scores"]) == set(rows)
  assert all(0 <= one["mean"] <= 1 for one in result["scores"].values())
  # Again: nothing is trained anew, the table is the same.
  monkeypatch.setattr(study_runs, "train", None)
  run_two_rows(name, tmp_path, tiny)
  assert capsys.readouterr().out == printed


TWO = Study("Title", "Table 0", {
    "a": Row((TrainingStage(changes={"optim.learning_rate": 1.0}),),
             paper=0.25),
    "b": Row((TrainingStage(changes={"optim.learning_rate": 2.0}),
              TrainingStage()))},
    metric="eval/test/accuracy")


def make_config(stage):
  config = schema.default_config()
  config.optim.learning_rate = stage.changes.get("optim.learning_rate", 3.0)
  return config


def test_seeds_stages_and_their_weights(monkeypatch, tmp_path):
  seen = fake_training(
      monkeypatch, lambda c: c.optim.learning_rate / 10 + c.train.seed / 100)
  outcome = study_runs.run_study(TWO, make_config, str(tmp_path), num_seeds=2)
  assert outcome.finished
  assert outcome.scores == {"a": {0: 0.1, 1: 0.11}, "b": {0: 0.3, 1: 0.31}}
  # The second stage begins with the first one's weights, of the same seed.
  second = [(w, c) for w, c in seen if w.endswith("stage-2")]
  for workdir, config in second:
    assert config.init.path == workdir.replace("stage-2", "stage-1/model.npz")
  assert len(second) == 2
  assert {c.init.path for w, c in seen if "stage-2" not in w} == {""}
  header, a, b = study_table(TWO, outcome)
  assert header == ["row", "paper", "ours", "std", "runs"]
  assert a == ["a", "25.00%", "10.50%", "0.71%", "2"]
  assert b[:2] == ["b", "-"]


def test_told_to_stop(monkeypatch, tmp_path):
  fake_training(monkeypatch, stop_at=2)
  outcome = study_runs.run_study(TWO, make_config, str(tmp_path))
  assert not outcome.finished and set(outcome.scores) == {"a"}
  kept = json.loads((tmp_path / "study.json").read_text())
  assert kept["finished"] is False and kept["summary"]["a"]["std"] is None


def test_early_stopping_takes_the_first_best_validation(tmp_path):
  lines = [(1, 0.2, 0.9), (2, 0.6, 0.5), (3, 0.6, 0.7), (4, 0.1, 0.8)]
  (tmp_path / "metrics.jsonl").write_text("".join(
      json.dumps({"step": s, "eval/val/accuracy": v}) + "\n"
      + json.dumps({"step": s, "eval/test/accuracy": t}) + "\n"
      for s, v, t in lines))
  best = study_runs.best_scores(str(tmp_path), "eval/val/accuracy")
  assert best["eval/test/accuracy"] == 0.5
  with pytest.raises(UsageError, match="the run has no eval/dev/accuracy"):
    study_runs.best_scores(str(tmp_path), "eval/dev/accuracy")


def test_curves_meet_in_the_row_of_every_series(tmp_path):
  rows = {"base": Row((TrainingStage(),), x=1.0),
          "deep": Row((TrainingStage(),), series="depth", x=2.0),
          "wide": Row((TrainingStage(),), series="width", x=0.5)}
  study = Study("T", "Figure 0", rows, metric="eval/test/accuracy",
                x_label="compute")
  outcome = StudyOutcome({"base": {0: 0.5}, "deep": {0: 0.6, 1: 0.8},
                     "wide": {0: 0.4}}, True)
  lines = series_points(study, outcome)
  assert lines["depth"] == [
      (1.0, 0.5, 0.0), (2.0, 0.7, pytest.approx(0.1414, abs=1e-4))]
  assert [x for x, *_ in lines["width"]] == [0.5, 1.0]
  path = write_figure(study, outcome, str(tmp_path), "digits")
  assert pathlib.Path(path).read_bytes().startswith(b"\x89PNG")
  assert caption(study, outcome, "digits").endswith(
      " on digits, 1 to 2 seeds, bars: standard deviation")
  one = StudyOutcome({"base": {0: 0.5}}, False)
  assert caption(study, one, "digits").endswith("digits, 1 seed, not finished")


def test_a_figure_without_a_point_is_not_written(tmp_path):
  study = Study("Sizes", "Figure 8", {"base": Row(())}, metric="eval/a/b")
  outcome = StudyOutcome({"base": {0: 0.5}}, True)
  assert write_figure(study, outcome, str(tmp_path), "digits") is None
  assert not list(tmp_path.iterdir())


def test_compute_is_counted_by_formula():
  base = dict(variant="B/32")
  assert studies.relative_compute({}, base, 224) == 1
  # Twice the blocks: all but the embedding and the head.
  assert 1.9 < studies.relative_compute({"depth": 24}, base, 224) < 2
  assert studies.relative_compute({"patch_size": 16}, base, 224) > 3.9


@pytest.mark.parametrize(("words", "message"), [
    (("--config=configs/quickstart.py",), "holds no study"),
    (("--config=configs/heads.py:digits", "--rows=cls-8e-5"),
     "did you mean 'cls-8e-4'"),
    ((), "--config=configs/FILE.py is missing"),
])
def test_wrong_use(words, message, tmp_path, capsys):
  assert main(["study", f"--workdir={tmp_path}/x", *words]) == 2
  assert message in capsys.readouterr().err


def test_a_metric_that_is_not_there(monkeypatch, tmp_path):
  fake_training(monkeypatch)
  study = Study("T", "T", TWO.rows, metric="eval/other/accuracy")
  with pytest.raises(UsageError, match="a: the run has no eval/other/acc"):
    study_runs.run_study(study, make_config, str(tmp_path))


def test_rows_share_the_run_that_they_begin_with(tmp_path, monkeypatch):
  first = TrainingStage("first", folder="pretrained")
  study = Study("T", "S", {
      name: Row((first, TrainingStage(name, folder=name)))
      for name in ("a", "b")}, metric="eval/test/accuracy")
  seen = fake_training(monkeypatch)
  finished = set()
  monkeypatch.setattr(
      study_runs, "is_finished", lambda folder: folder in finished)
  monkeypatch.setattr(
      study_runs, "check_same_run", lambda folder, config: None)
  monkeypatch.setattr(study_runs, "last_scores", lambda folder: {})
  train = study_runs.train

  def remember(config, folder):
    finished.add(folder)
    return train(config, folder)

  monkeypatch.setattr(study_runs, "train", remember)
  study_runs.run_study(study, lambda stage: load_config(
      [f"--config={CONFIGS}/quickstart.py"]), str(tmp_path))
  folders = [one[0].removeprefix(f"{tmp_path}/") for one in seen]
  assert folders == ["pretrained/seed-0", "a/seed-0", "b/seed-0"]
  assert [one[1].init.path for one in seen[1:]] == [
      f"{tmp_path}/pretrained/seed-0/model.npz"] * 2

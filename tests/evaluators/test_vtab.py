"""VTAB's table: which runs count, their means, and what the verb prints."""

import json

import pytest

from vit_jax.data.vtab import TASKS
from vit_jax.errors import DataError
from vit_jax.evaluators import vtab

# Table 9 of the paper, L/16 from ImageNet-21k, in the order of TASKS.
TABLE_9 = dict(zip(TASKS, [
    90.8, 84.1, 74.1, 99.3, 92.7, 61.0, 80.9, 82.5, 95.6, 85.2, 75.3, 70.3,
    56.1, 41.9, 74.7, 64.9, 79.9, 30.5, 41.7], strict=True))


def write_run(folder, task, accuracy, *, split="train800val200",
              source="vtab", variant="B/16", finished=True):
  folder.mkdir(parents=True)
  (folder / "config.json").write_text(json.dumps({"config": {
      "data": {"source": f"{source}:{task}", "split": split},
      "model": {"variant": variant}, "init": {"path": "x.npz"}}}))
  (folder / "metrics.jsonl").write_text("\n".join(
      json.dumps({"step": step, vtab.SCORE: value})
      for step, value in ((1, 0.01), (2, accuracy))) + "\n")
  if finished:
    (folder / "model.json").write_text("{}")


@pytest.fixture
def folder(tmp_path):
  for task, score in TABLE_9.items():
    write_run(tmp_path / task, task, score / 100)
  return tmp_path


def test_means_of_the_papers_table(folder):
  scores = vtab.gather([str(folder)])
  assert list(scores) == list(TASKS)
  means = vtab.averages({name: score.mean for name, score in scores.items()})
  assert {name: round(100 * mean, 1) for name, mean in means.items()} == {
      "natural": 83.3, "specialized": 84.7, "structured": 57.5, "vtab": 72.7}


def test_a_mean_that_lacks_a_task_is_none():
  scores = {name: 0.5 for name, task in TASKS.items()
            if task.group == "natural"}
  assert vtab.averages(scores) == {
      "natural": 0.5, "specialized": None, "structured": None, "vtab": None}


def test_runs_that_count(tmp_path):
  write_run(tmp_path / "dtd" / "best-0.01-seed-0", "dtd", 0.70)
  write_run(tmp_path / "dtd" / "best-0.01-seed-1", "dtd", 0.74)
  write_run(tmp_path / "dtd" / "rate-0.01", "dtd", 0.1, split="train800")
  write_run(tmp_path / "other", "cifar10", 0.1, source="tfds")
  write_run(tmp_path / "unfinished", "svhn", 0.1, finished=False)
  scores = vtab.gather([str(tmp_path)])
  assert list(scores) == ["dtd"]
  assert scores["dtd"].mean == pytest.approx(0.72)
  assert scores["dtd"].std == pytest.approx(0.02 * 2**0.5)
  assert len(scores["dtd"].runs) == 2


def test_nothing_found_and_two_models(tmp_path):
  with pytest.raises(DataError, match="no finished run of a VTAB task"):
    vtab.gather([str(tmp_path)])
  write_run(tmp_path / "a", "dtd", 0.7)
  write_run(tmp_path / "b", "svhn", 0.8, variant="L/16")
  with pytest.raises(DataError, match="B/16.*L/16"):
    vtab.gather([str(tmp_path)])

"""VTAB's table: which runs count, their means, and what the verb prints."""

import pytest
from vtab_runs import TABLE_9, write_run

from vit_jax.data.sources.vtab import TASKS
from vit_jax.errors import DataError
from vit_jax.experiments import vtab_table


@pytest.fixture
def folder(tmp_path):
  for task, score in TABLE_9.items():
    write_run(tmp_path / task, task, score / 100)
  return tmp_path


def test_means_of_the_papers_table(folder):
  scores = vtab_table.gather_scores([str(folder)])
  assert list(scores) == list(TASKS)
  means = vtab_table.group_means(
      {name: score.mean for name, score in scores.items()})
  assert {name: round(100 * mean, 1) for name, mean in means.items()} == {
      "natural": 83.3, "specialized": 84.7, "structured": 57.5, "vtab": 72.7}


def test_a_mean_that_lacks_a_task_is_none():
  scores = {name: 0.5 for name, task in TASKS.items()
            if task.group == "natural"}
  assert vtab_table.group_means(scores) == {
      "natural": 0.5, "specialized": None, "structured": None, "vtab": None}


def test_runs_that_count(tmp_path):
  write_run(tmp_path / "dtd" / "best-0.01-seed-0", "dtd", 0.70)
  write_run(tmp_path / "dtd" / "best-0.01-seed-1", "dtd", 0.74)
  write_run(tmp_path / "dtd" / "rate-0.01", "dtd", 0.1, split="train800")
  write_run(tmp_path / "other", "cifar10", 0.1, source="tfds")
  write_run(tmp_path / "unfinished", "svhn", 0.1, finished=False)
  scores = vtab_table.gather_scores([str(tmp_path)])
  assert list(scores) == ["dtd"]
  assert scores["dtd"].mean == pytest.approx(0.72)
  assert scores["dtd"].std == pytest.approx(0.02 * 2**0.5)
  assert len(scores["dtd"].runs) == 2


def test_nothing_found_and_two_models(tmp_path):
  with pytest.raises(DataError, match="no finished run of a VTAB task"):
    vtab_table.gather_scores([str(tmp_path)])
  write_run(tmp_path / "a", "dtd", 0.7)
  write_run(tmp_path / "b", "svhn", 0.8, variant="L/16")
  with pytest.raises(DataError, match="B/16.*L/16"):
    vtab_table.gather_scores([str(tmp_path)])

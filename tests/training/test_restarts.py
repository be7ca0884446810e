"""A job that comes back to the same step again and again is ended."""

import json

import pytest

from vit_jax.errors import UserError
from vit_jax.training.restarts import FILE, LIMIT, check_progress


@pytest.fixture
def limit(monkeypatch):
  monkeypatch.setenv(LIMIT, "3")


def test_the_fourth_start_at_the_same_step_is_refused(tmp_path, limit):
  for _ in range(3):
    check_progress(str(tmp_path), 40)
  with pytest.raises(UserError, match="started 3 times at step 40"):
    check_progress(str(tmp_path), 40)
  # Advice that is followed helps.
  (tmp_path / FILE).unlink()
  check_progress(str(tmp_path), 40)


def test_progress_starts_the_count_again(tmp_path, limit):
  for step in (0, 0, 0, 5, 5, 5, 6):
    check_progress(str(tmp_path), step)
  assert json.loads((tmp_path / FILE).read_text()) == {"step": 6, "times": 1}


def test_people_may_start_as_often_as_they_like(tmp_path, monkeypatch):
  monkeypatch.delenv(LIMIT, raising=False)
  for _ in range(9):
    check_progress(str(tmp_path), 0)
  assert not (tmp_path / FILE).exists()


def test_a_damaged_count_starts_again(tmp_path, limit):
  (tmp_path / FILE).write_text('{"step"')
  check_progress(str(tmp_path), 7)
  assert json.loads((tmp_path / FILE).read_text())["times"] == 1

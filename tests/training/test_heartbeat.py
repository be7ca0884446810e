"""A sign of life, and the productive share of a job over its restarts."""

import json

import pytest

from vit_jax.training import heartbeat


@pytest.fixture
def clock(monkeypatch):
  class Clock:
    now = 1000.0
  clock = Clock()
  monkeypatch.setattr(heartbeat.time, "time", lambda: clock.now)
  monkeypatch.setattr(heartbeat.time, "monotonic", lambda: clock.now)
  return clock


def read(folder):
  return json.loads((folder / heartbeat.FILE).read_text())


def test_goodput_counts_over_restarts_what_was_kept(tmp_path, clock):
  beat = heartbeat.Heartbeat(str(tmp_path), start_step=0, primary=True)
  clock.now = 1100.0
  first = beat.beat(50, 80.0)
  assert first == {"time/productive": 80.0, "time/goodput": 0.8}
  assert read(tmp_path) == {
      "step": 50, "time": 1100.0, "began": 1000.0, "goodput": 0.8}
  clock.now = 1200.0
  second = beat.beat(100, 90.0)
  (tmp_path / "metrics.jsonl").write_text("".join(
      json.dumps({"step": step, **line}) + "\n"
      for step, line in ((50, first), (100, second))))
  # Taken away after step 100, resumed at 60: what came after 50 is lost.
  clock.now = 1400.0
  beat = heartbeat.Heartbeat(str(tmp_path), start_step=60, primary=True)
  clock.now = 1600.0
  assert beat.beat(100, 160.0) == {
      "time/productive": 240.0, "time/goodput": pytest.approx(0.4)}
  assert read(tmp_path)["began"] == 1000.0


def test_the_file_is_not_written_too_often(tmp_path, clock):
  beat = heartbeat.Heartbeat(str(tmp_path), start_step=0, primary=True)
  for step in range(1, 30):
    clock.now += 1.0
    beat.beat(step, 1.0)
  assert read(tmp_path)["step"] == 21  # at 1, 11 and 21


def test_only_one_process_writes(tmp_path, clock):
  beat = heartbeat.Heartbeat(str(tmp_path), start_step=0, primary=False)
  assert beat.beat(1, 1.0) == {}
  assert not list(tmp_path.iterdir())


def test_a_damaged_file_counts_anew(tmp_path, clock):
  (tmp_path / heartbeat.FILE).write_text("[]")
  beat = heartbeat.Heartbeat(str(tmp_path), start_step=0, primary=True)
  clock.now += 10
  beat.beat(1, 5.0)
  assert read(tmp_path)["began"] == 1000.0

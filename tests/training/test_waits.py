"""Waiting for data is measured, the slowest process is named."""

from absl import logging
import numpy as np
import pytest

from vit_jax.training.waits import Waits


@pytest.fixture
def warned(monkeypatch):
  lines = []
  monkeypatch.setattr(
      logging, "warning", lambda text, *args: lines.append(text % args))
  return lines


def test_windows_are_measured_one_after_the_other(warned):
  seconds = {"data": 5.0, "step": 5.0, "eval": 99.0}
  waits = Waits(seconds)  # What was before does not count.
  seconds.update(data=5.4, step=14.6)
  assert waits.measure() == {"time/data_share": pytest.approx(0.04)}
  assert not warned
  seconds.update(data=7.4, step=22.6)
  assert waits.measure() == {"time/data_share": pytest.approx(0.2)}
  assert len(warned) == 1
  assert "waited for data for 20 % of the time" in warned[0]
  assert "num_workers" in warned[0]
  seconds.update(data=99.0)
  waits.measure()
  assert len(warned) == 1  # Said once.


def test_the_slowest_process_is_named(warned):
  every = np.array([[0.1, 9.9], [0.2, 9.8], [4.0, 6.0], [0.1, 9.95]])
  line = Waits({}).of_processes(every)
  assert line == pytest.approx({
      "time/data_share": 0.4,
      "time/data_slowest": 4.0, "time/data_slowest_process": 2,
      "time/step_slowest": 9.95, "time/step_slowest_process": 3})
  assert warned[0].startswith("process 2 of 4 waited for data for 40 %")


def test_an_empty_window_divides_by_nothing(warned):
  assert Waits({}).measure() == {"time/data_share": 0.0}

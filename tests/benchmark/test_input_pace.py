"""The input's contestants do the same work, and take turns."""

import json
import sys
import types

import numpy as np
import pytest

from vit_jax.__main__ import main
from vit_jax.benchmark import input_pace
from vit_jax.data.decode import decode


@pytest.fixture(scope="module")
def files():
  return input_pace.make_files(6)


def test_files_are_photographs_of_the_usual_size(files):
  pictures = [decode(data) for data in files]
  assert {picture.shape for picture in pictures} == {(375, 500, 3)}
  assert len({data for data in files}) == 6
  # As large as ImageNet's, 110 kB on average: neither flat nor noise.
  assert all(20_000 < len(data) < 200_000 for data in files)


def test_ratios_are_those_of_a_turn():
  ours = input_pace.InputPace("a", 10, [1.0, 2.0, 1.0])
  theirs = input_pace.InputPace("b", 10, [2.0, 4.0, 1.0])
  assert ours.ratio(theirs) == (2.0, 1.0, 2.0)
  assert ours.pace == 10 and theirs.pace == 5


def test_pillow_cuts_what_we_cut(files):
  # The same draws, so that all is one picture but for smoothing.
  ours, theirs = input_pace._ours(files[:2], input_pace.PIPELINE)(), (
      input_pace._pillow(files[:2])())
  for one, other in zip(ours, theirs, strict=True):
    assert one.shape == other.shape == (224, 224, 3)
    assert np.abs(one.astype(float) - other).mean() < 12


@pytest.mark.parametrize("workers", [
    0, pytest.param(2, marks=pytest.mark.slow)])
def test_the_loader_is_timed(files, workers):
  assert input_pace.loader_pace(
      files, workers=workers, threads=2, batches=2) > 0


def test_the_verb_prints_and_writes(tmp_path, monkeypatch, capsys, files):
  # Without TensorFlow and without worker processes: what is timed is Pillow's.
  monkeypatch.setattr(
      input_pace, "_tf_data", lambda files, fused: input_pace._pillow(files))
  monkeypatch.setattr(input_pace, "make_files", lambda: files)
  monkeypatch.setattr(input_pace, "loader_pace", lambda *_, **how: 5.0)
  out = tmp_path / "input.json"
  assert main(
      ["benchmark", "--peers=tf.data", "--steps=2", f"--out={out}"]) == 0
  printed = capsys.readouterr().out
  assert "RandAugment" in printed and "tf.data, as the official" in printed
  record = json.loads(out.read_text())
  assert [len(one["seconds"]) for one in record["input"]] == [2] * 6
  assert all(min(one["seconds"]) > 0 for one in record["input"])


def test_without_tensorflow_it_is_one_line(monkeypatch, capsys, files):
  monkeypatch.setitem(sys.modules, "tensorflow", None)
  monkeypatch.setattr(input_pace, "make_files", lambda: files)
  assert main(["benchmark", "--peers=tf.data"]) == 2
  assert "pip install tensorflow-cpu" in capsys.readouterr().err


def test_tf_data_runs_in_one_thread(monkeypatch, files):
  # The calls are TensorFlow's; what they return here is not.
  made = []

  class Dataset:

    @staticmethod
    def from_tensor_slices(items):
      made.append(len(items))
      return Dataset()

    def map(self, function, num_parallel_calls):
      made.append(num_parallel_calls)
      return self

    def with_options(self, options):
      made.append((options.threading.private_threadpool_size,
                   options.threading.max_intra_op_parallelism))
      return self

    def as_numpy_iterator(self):
      return iter([0] * 6)

  options = types.SimpleNamespace(threading=types.SimpleNamespace())
  tensorflow = types.SimpleNamespace(
      config=types.SimpleNamespace(set_visible_devices=lambda *_: None),
      data=types.SimpleNamespace(Dataset=Dataset, Options=lambda: options))
  monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)
  input_pace._tf_data(files, fused=True)()
  assert made == [6, 1, (1, 1)]

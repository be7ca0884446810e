"""Files of a working directory: whole, or one line that names the file."""

import json
import os
import shutil

from ml_collections import ConfigDict
import numpy as np
import pytest

from vit_jax.errors import UserError
from vit_jax.metrics import read_record
from vit_jax.training import finished, metric_writer, workdir
from vit_jax.training.metric_writer import MetricWriter

DAMAGED_JSON = {
    "empty": b"", "garbage": b"\0" * 100, "a list": b"[1, 2]",
    "null": b"null", "no config": b"{}", "null config": b'{"config": null}',
    "null section": b'{"config": {"train": null}}',
    "deep": b"[" * 100_000, "a long number": b'{"a": ' + b"1" * 5000 + b"}",
    "not utf-8": b'{"config": "\xff"}'}


@pytest.mark.parametrize("content", DAMAGED_JSON.values(), ids=DAMAGED_JSON)
def test_a_damaged_config_is_named_in_one_line(tmp_path, content):
  (tmp_path / "config.json").write_bytes(content)
  with pytest.raises(UserError, match=r"config\.json: damaged") as error:
    workdir.check_same_run(str(tmp_path), ConfigDict({"train": {"seed": 0}}))
  assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_the_config_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
  config = ConfigDict({"train": {"seed": 0}})
  workdir.write_config(str(tmp_path), config, {})
  before = (tmp_path / "config.json").read_bytes()

  def full(_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(os, "fsync", full)
  with pytest.raises(OSError, match="No space left"):
    workdir.write_config(str(tmp_path), config, {"steps": 5})
  assert (tmp_path / "config.json").read_bytes() == before
  assert os.listdir(tmp_path) == ["config.json"]


BAD_LINES = (b"null", b"[]", b'{"train/loss": 1.0}', b'{"step": "3"}',
             b'{"step": true}', b'{"step": -1}', b"\xff\xfe", b"\0" * 512,
             b"[" * 50_000, b'{"step": 3, "eval/val/loss": "x"}',
             b'{"step": 3, "train/lo')


@pytest.mark.parametrize("bad", BAD_LINES, ids=range(len(BAD_LINES)))
def test_damaged_lines_of_the_record_are_left_out(tmp_path, bad, caplog):
  lines = [b'{"step": 1, "train/loss": 2.0}', bad, b'{"step": 2}', b""]
  (tmp_path / "metrics.jsonl").write_bytes(b"\n".join(lines))
  assert [x["step"] for x in read_record(str(tmp_path))] == [1, 2]
  said = [r.getMessage() for r in caplog.records if "metrics.jsonl" in r.msg
          or "metrics.jsonl" in r.getMessage()]
  assert len(said) == 1 and said[0].endswith("line 2")


def test_a_directory_that_disappears_is_said(tmp_path):
  folder = tmp_path / "run"
  folder.mkdir()
  writer = MetricWriter(str(folder), start_step=0, primary=True)
  writer.write(1, {"train/loss": 1.0})
  writer.flush()
  shutil.rmtree(folder)
  writer.write(2, {"train/loss": 1.0})
  with pytest.raises(UserError, match=r"metrics\.jsonl: it has disappeared"):
    writer.flush()
  with pytest.raises(UserError):
    writer.close()
  assert not folder.exists()


def test_a_record_that_was_replaced_is_noticed(tmp_path):
  writer = MetricWriter(str(tmp_path), start_step=0, primary=True)
  (tmp_path / "other").write_text("")
  os.replace(tmp_path / "other", tmp_path / "metrics.jsonl")
  with pytest.raises(UserError, match="disappeared"):
    writer.close()


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
  writer = MetricWriter(str(tmp_path), start_step=0, primary=True)

  def full(_):
    raise OSError(28, "No space left on device")

  with monkeypatch.context() as patch:
    patch.setattr(metric_writer.os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device; make room"):
      writer.flush()
  writer.close()


@pytest.fixture
def result(tmp_path):
  params = {"head": {"kernel": np.ones((3, 2), np.float32),
                     "bias": np.zeros(2, np.float32)}}
  workdir.write_model(str(tmp_path), params, {"step": 4})
  return tmp_path


def missing(path, report=False):
  return finished.what_is_missing(str(path), report=report)


def test_a_result_is_believed_only_where_it_is_whole(result):
  assert missing(result) is None
  assert finished.is_finished(str(result))
  assert missing(result, report=True) == "report.html is missing"
  content = (result / "model.npz").read_bytes()
  at = content.index(np.ones(3, np.float32).tobytes())
  for damaged in (
      content[:500], b"", content[:at] + b"\xff" + content[at + 1:]):
    (result / "model.npz").write_bytes(damaged)
    assert "model.npz: " in missing(result)
  other = {"head": {"kernel": np.ones((3, 2), np.float32),
                    "bias": np.ones(2, np.float32)}}
  said = (result / "model.json").read_bytes()
  workdir.write_model(str(result), other, {"step": 4})
  (result / "model.json").write_bytes(said)
  assert "not the one" in missing(result)
  os.remove(result / "model.npz")
  assert missing(result) == "model.npz is missing"


def test_results_without_a_digest_are_those_of_earlier_versions(result):
  said = json.loads((result / "model.json").read_text())
  assert len(said.pop("digest")) == 64
  (result / "model.json").write_text(json.dumps(said))
  assert missing(result) is None

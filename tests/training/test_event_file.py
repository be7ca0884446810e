"""Event files, byte for byte as another writer makes them."""

import struct

import numpy as np
import pytest

from vit_jax.metrics import read_record
from vit_jax.training import event_file, metric_writer
from vit_jax.training.metric_writer import MetricWriter

# Written by tensorboardX 2.6.5 with Google's protocol buffers: the version of
# the format, a session that starts at step 301, and two scalars of that step.
HEADER = (
    "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a32"
    "2a28646c100000000000000095fbfe1809000000000000f83f10ad023a020801d17949d4")
SCALARS = (
    "3b000000000000001a23ac5c09000000000000024010ad022a2d0a110a0a747261696e2f"
    "6c6f737315cdcccc3d0a180a116576616c2f76616c2f6578616d706c657315000033437e"
    "e39757")


@pytest.mark.parametrize("data, crc", [  # RFC 3720, appendix B.4
    (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)])
def test_checksums(data, crc):
  assert event_file.crc32c(data) == crc


def test_the_bytes_are_those_of_another_writer():
  assert event_file.file_header(1.5, 301).hex() == HEADER
  assert event_file.scalars_event(
      2.25, 301, {"train/loss": 0.1, "eval/val/examples": 179}
  ).hex() == SCALARS
  assert event_file.scalars_event(2.25, 302, {"train/loss": 0.1}) != (
      event_file.scalars_event(2.25, 301, {"train/loss": 0.1}))


def records(data):
  """Cuts a TFRecord file into its messages."""
  while data:
    length, = struct.unpack("<Q", data[:8])
    message, data = data[12:12 + length], data[16 + length:]
    yield message


@pytest.mark.parametrize("value, expected", [
    (1e39, "inf"), (-1e39, "-inf"), (float("inf"), "inf"),
    (float("nan"), "nan"), (2**100, str(2.0**100))])
def test_numbers_beyond_float32(value, expected):
  message, = records(event_file.scalars_event(0.0, 1, {"x": value}))
  stored = float(np.frombuffer(message[-4:], "<f4")[0])
  assert str(stored) == expected


def test_the_writer_fills_both_files_and_each_start_has_its_own(tmp_path):
  for start in (0, 2):
    writer = MetricWriter(str(tmp_path), start_step=start, primary=True)
    for step in (start + 1, start + 2):
      writer.write(step, {"train/loss": 0.5, "eval/val/examples": 7,
                          "note": "not a number"})
      # Nothing waits in a buffer: TensorBoard can follow the run.
      newest = max((tmp_path / "tensorboard").iterdir())
      assert len(list(records(newest.read_bytes()))) == 2 + step - start
    writer.close()
  assert [x["step"] for x in read_record(str(tmp_path))] == [1, 2, 3, 4]
  assert len(list((tmp_path / "tensorboard").iterdir())) == 2
  for path in (tmp_path / "tensorboard").iterdir():
    assert path.name.startswith("events.out.tfevents.")
  assert event_file._varint(2, 3) in list(records(newest.read_bytes()))[1]


class InBucket:
  """The path of an object that can be written as a whole only."""

  def __init__(self):
    self.versions = []

  def __str__(self):
    return "gs://bucket/metrics.jsonl"

  def write_bytes(self, data):
    self.versions.append(data)


def test_in_a_bucket_a_file_is_written_anew_each_minute(monkeypatch):
  clock = [1000.0]
  monkeypatch.setattr(metric_writer.time, "monotonic", lambda: clock[0])
  path = InBucket()
  file = metric_writer._GrowingFile(path, b"0")
  for letter in (b"1", b"2", b"3"):
    file.write(letter)
    clock[0] += 40.0
  assert path.versions == [b"0", b"01", b"0123"]
  file.write(b"4")
  file.close()
  assert path.versions[-1] == b"01234"

import pickle

import numpy as np
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.weights.formats import detect


def test_weights_files_are_known_by_their_bytes(tmp_path, goldens):
  assert detect.detect_format(goldens / "gap_layout.npz") == "npz"
  path = tmp_path / "model.bin"
  path.write_bytes((2).to_bytes(8, "little") + b"{}")
  assert detect.detect_format(path) == "safetensors"


WRONG = {
    "html": (b"\n<!DOCTYPE html><html>404", "an HTML or XML page"),
    "xml": (b"<?xml version='1.0'?><Error>", "an HTML or XML page"),
    "pickle": (pickle.dumps({"a": 1}), "a Python pickle"),
    "pickle2": (pickle.dumps({"a": 1}, protocol=2), "a Python pickle"),
    "msgpack": (b"\x81\xa6params\x80", "a msgpack file"),
    "msgpack16": (b"\xde\x00\x20\xa6params\x80", "a msgpack file"),
    "gzip": (b"\x1f\x8b\x08\x00", "compressed with gzip"),
    "hdf5": (b"\x89HDF\r\n", "an HDF5 file"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
    "text": (b"step,loss\n1,2.3\n", "a text file"),
    "empty": (b"", "an empty file"),
    "noise": (bytes(range(7, 60)), "an unknown format"),
}


@pytest.mark.parametrize("name", WRONG)
def test_other_files_are_named_in_one_line(tmp_path, name):
  content, what = WRONG[name]
  path = tmp_path / "model.npz"
  path.write_bytes(content)
  with pytest.raises(CheckpointError) as error:
    detect.detect_format(path)
  message = str(error.value)
  assert what in message and str(path) in message and "\n" not in message
  assert ";" in message  # what to do


def test_flax_checkpoints_are_msgpack(tmp_path):
  serialization = pytest.importorskip("flax.serialization")
  path = tmp_path / "checkpoint_1"
  path.write_bytes(serialization.to_bytes({"params": np.ones(3)}))
  with pytest.raises(CheckpointError, match="a msgpack file"):
    detect.detect_format(path)


def test_single_arrays_are_refused(tmp_path):
  np.save(tmp_path / "a.npy", np.ones(3))
  with pytest.raises(CheckpointError, match="one array in a .npy file"):
    detect.detect_format(tmp_path / "a.npy")


def test_a_directory_shows_what_is_in_it(tmp_path):
  with pytest.raises(CheckpointError, match="a directory without weights"):
    detect.detect_format(tmp_path)
  (tmp_path / "model.npz").touch()
  with pytest.raises(CheckpointError, match=r"such as .*model\.npz"):
    detect.detect_format(tmp_path)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
  with pytest.raises(CheckpointError, match="no such file"):
    detect.detect_format(tmp_path / "none.npz")

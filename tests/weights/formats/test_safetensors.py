import json

import chex
import ml_dtypes
import numpy as np
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.weights.formats import safetensors

ARRAYS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.arange(6, dtype=np.float64).reshape(2, 3).T,
    "half": np.array([1.5, -2], ml_dtypes.bfloat16),
    "scalar": np.array(7, np.int64),
    "none": np.zeros((0, 4), np.float16),
}


def test_what_is_saved_is_read(tmp_path):
  path = tmp_path / "m.safetensors"
  safetensors.write_safetensors(path, ARRAYS, {"note": "x"})
  got, metadata = safetensors.read_safetensors(path)
  assert list(got) == sorted(ARRAYS)
  assert metadata == {"format": "pt", "note": "x"}
  chex.assert_trees_all_equal(got, ARRAYS, strict=True)
  with pytest.raises(AssertionError):
    chex.assert_trees_all_equal(got, ARRAYS | {"b": ARRAYS["b"] + 1})


def test_the_reference_library_reads_and_writes_the_same(tmp_path):
  reference = pytest.importorskip("safetensors.numpy")
  safetensors.write_safetensors(tmp_path / "ours", ARRAYS)
  got = reference.load_file(tmp_path / "ours")
  chex.assert_trees_all_equal(got, ARRAYS, strict=True)
  reference.save_file(got, tmp_path / "theirs")
  again, _ = safetensors.read_safetensors(tmp_path / "theirs")
  chex.assert_trees_all_equal(again, ARRAYS, strict=True)


def test_only_selected_arrays_are_read(tmp_path):
  path = tmp_path / "m.safetensors"
  safetensors.write_safetensors(path, ARRAYS)
  got, _ = safetensors.read_safetensors(path, select=lambda names: ["half"])
  chex.assert_trees_all_equal(got, {"half": ARRAYS["half"]}, strict=True)


def damage(path, kind):
  content = path.read_bytes()
  size = int.from_bytes(content[:8], "little")
  header = json.loads(content[8:8 + size])
  if kind == "cut header":
    return content[:40]
  if kind == "cut arrays":
    return content[:-3]
  if kind == "shape":
    header["b"]["shape"] = [2, 4]
  elif kind == "dtype":
    header["b"]["dtype"] = "F3"
  elif kind == "list":
    header = {"b": [1]}
  elif kind == "overlap":
    header["b"]["data_offsets"] = header["a"]["data_offsets"]
    header["b"]["dtype"] = "F64"
  elif kind == "before":
    header["half"]["data_offsets"] = [-4, 0]
  elif kind == "gap":
    del header["half"]
  elif kind == "tail":
    return content + b"\0" * 4
  elif kind == "fp8":
    header["b"] |= {"dtype": "F8_E4M3", "shape": [24]}
  elif kind == "complex":
    header["b"] |= {"dtype": "C64", "shape": [3]}
  elif kind == "empty":
    header = {}
  text = json.dumps(header).encode()
  return len(text).to_bytes(8, "little") + text + content[8 + size:]


@pytest.mark.parametrize("kind, message", [
    ("cut header", "truncated or damaged"), ("cut arrays", "damaged: scalar"),
    ("shape", "truncated or damaged"), ("dtype", "F3"),
    ("list", "truncated or damaged"), ("empty", "without arrays"),
    ("overlap", "truncated or damaged"), ("before", "truncated or damaged"),
    ("gap", "begins at byte"), ("tail", "bytes behind its header"),
    ("fp8", "arrays of F8_E4M3, which this package does not read"),
    ("complex", "arrays of C64")])
def test_damage_is_said_in_one_line(tmp_path, kind, message):
  path = tmp_path / "m.safetensors"
  safetensors.write_safetensors(path, ARRAYS)
  path.write_bytes(damage(path, kind))
  with pytest.raises(CheckpointError, match=message) as error:
    safetensors.read_safetensors(path)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["overlap", "before", "gap", "tail"])
def test_the_reference_library_refuses_the_same(tmp_path, kind):
  reference = pytest.importorskip("safetensors.numpy")
  path = tmp_path / "m.safetensors"
  safetensors.write_safetensors(path, ARRAYS)
  assert reference.load_file(path)
  path.write_bytes(damage(path, kind))
  with pytest.raises(Exception, match=r"(?i)header|offset|incomplete|deser"):
    reference.load_file(path)


def test_nan_is_refused_both_ways(tmp_path):
  bad = {"x": np.array([np.nan], np.float32)}
  with pytest.raises(CheckpointError, match="NaN or infinity in x"):
    safetensors.write_safetensors(tmp_path / "m", bad)
  assert not (tmp_path / "m").exists()
  good = tmp_path / "good"
  safetensors.write_safetensors(good, {"x": np.array([1], np.float32)})
  good.write_bytes(good.read_bytes()[:-4] + bad["x"].tobytes())
  with pytest.raises(CheckpointError, match="NaN or infinity in x"):
    safetensors.read_safetensors(good)


def test_an_npz_is_refused(goldens):
  with pytest.raises(CheckpointError, match="an .npz file"):
    safetensors.read_safetensors(goldens / "gap_layout.npz")

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


def without_checksums(path):
  """Returns a file as others write it."""
  content = path.read_bytes()
  size = int.from_bytes(content[:8], "little")
  header = json.loads(content[8:8 + size])
  del header["__metadata__"]["vit_jax.crc32"]
  text = json.dumps(header).encode()
  return len(text).to_bytes(8, "little") + text + content[8 + size:]


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
  path.write_bytes(without_checksums(path))
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
  path.write_bytes(without_checksums(path))
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
  # With its checksum unknown, as in the files of others.
  good.write_bytes(without_checksums(good)[:-4] + bad["x"].tobytes())
  with pytest.raises(CheckpointError, match="NaN or infinity in x"):
    safetensors.read_safetensors(good)


def test_an_npz_is_refused(goldens):
  with pytest.raises(CheckpointError, match="an .npz file"):
    safetensors.read_safetensors(goldens / "gap_layout.npz")


def test_a_flipped_bit_in_what_we_wrote_is_seen(tmp_path):
  path = tmp_path / "m.safetensors"
  safetensors.write_safetensors(path, ARRAYS)
  content = path.read_bytes()
  start = 8 + int.from_bytes(content[:8], "little")
  for at in range(start, len(content)):
    damaged = bytearray(content)
    damaged[at] ^= 1 << at % 8
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="cannot be read back as written"):
      safetensors.read_safetensors(path)


def test_the_digest_is_that_of_names_and_numbers(tmp_path):
  path = tmp_path / "m.safetensors"
  safetensors.write_safetensors(path, ARRAYS)
  first = safetensors.safetensors_digest(path)
  safetensors.write_safetensors(path, ARRAYS | {"b": ARRAYS["b"] + 1})
  assert first != safetensors.safetensors_digest(path)
  path.write_bytes(without_checksums(path))
  assert safetensors.safetensors_digest(path) is None


@pytest.mark.parametrize("header", [
    b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}", b"[1]", b"null",
    b'{"__metadata__": [1]}', b'{"__metadata__": 3}',
    b'{"__metadata__": {"vit_jax": 3}}', b'{"a": {"dtype": "F32"}}',
    b'{"a": {"dtype": "F32", "shape": ["2"], "data_offsets": [0, 8]}}',
    b'{"a": {"dtype": "F32", "shape": [true, 2], "data_offsets": [0, 8]}}',
    b'{"a": {"dtype": "F32", "shape": [250000000000], '
    b'"data_offsets": [0, 1000000000000]}}',
    b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0.0, 8.0]}}',
    b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}'])
def test_a_header_that_makes_no_sense_is_one_line(tmp_path, header):
  path = tmp_path / "m.safetensors"
  header = header.ljust(16)
  if header[:1] != b"{":
    header = b'{"a":' + header + b"}"
  path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
  with pytest.raises(CheckpointError) as error:
    safetensors.read_safetensors(path)
  assert "\n" not in str(error.value)

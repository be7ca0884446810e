import io
import zipfile

import chex
import ml_dtypes
import numpy as np
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.weights.formats import npz


def write(path, **arrays):
  np.savez(path, **arrays)
  return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_read_gives_what_numpy_gives(tmp_path, save):
  arrays = {
      "a/b": np.arange(6, dtype=np.float32).reshape(2, 3),
      "fortran": np.asfortranarray(np.random.default_rng(0).random((4, 5))),
      "big_endian": np.arange(3, dtype=">f4"),
      "scalar": np.int32(7),
      "none": np.zeros((0, 3), np.float32)}
  save(tmp_path / "f.npz", **arrays)
  got = npz.read_npz(tmp_path / "f.npz")
  assert list(got) == list(arrays)
  chex.assert_trees_all_equal(got, arrays)
  chex.assert_trees_all_equal_shapes(got, arrays)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_bfloat16_comes_back(tmp_path, save):
  array = np.array([1.5, -2.0, 3e38], ml_dtypes.bfloat16)
  save(tmp_path / "f.npz", a=array)
  # What numpy makes of it:
  assert np.load(tmp_path / "f.npz")["a"].dtype == "V2"
  got = npz.read_npz(tmp_path / "f.npz")["a"]
  assert got.dtype == ml_dtypes.bfloat16
  np.testing.assert_array_equal(got, array)


def test_only_wanted_arrays_are_read(tmp_path):
  path = write(tmp_path / "f.npz", a=np.ones(2), b=np.full(2, np.nan))
  assert list(npz.read_npz(path, select=lambda names: ["a"])) == ["a"]
  with pytest.raises(CheckpointError, match=r"NaN or infinity in b;"):
    npz.read_npz(path)


@pytest.mark.parametrize("where", [0.3, 0.7, 0.999])
def test_a_truncated_file_is_said_to_be_truncated(tmp_path, goldens, where):
  content = (goldens / "gap_layout.npz").read_bytes()
  path = tmp_path / "f.npz"
  path.write_bytes(content[:int(len(content) * where)])
  with pytest.raises(CheckpointError, match="truncated or damaged") as error:
    npz.read_npz(path)
  assert "\n" not in str(error.value)


def test_flipped_bits_are_seen(tmp_path, goldens):
  content = bytearray((goldens / "gap_layout.npz").read_bytes())
  content[len(content) // 2] ^= 1
  path = tmp_path / "f.npz"
  path.write_bytes(content)
  with pytest.raises(CheckpointError, match="cannot be read back as written"):
    npz.read_npz(path)


def test_flipped_bits_are_seen_in_compressed_files(tmp_path):
  buffer = io.BytesIO()
  np.savez_compressed(buffer, a=np.random.default_rng(0).random(5000))
  content = bytearray(buffer.getvalue())
  content[len(content) // 2] ^= 8
  path = tmp_path / "f.npz"
  path.write_bytes(content)
  with pytest.raises(CheckpointError, match="damaged"):
    npz.read_npz(path)


def test_pickled_objects_are_never_opened(tmp_path):
  path = write(tmp_path / "f.npz", fine=np.ones(2),
               config=np.array({"lr": 1.0}, dtype=object))
  with pytest.raises(CheckpointError, match="config holds pickled Python"):
    npz.read_npz(path)


def test_text_arrays_are_refused(tmp_path):
  path = write(tmp_path / "f.npz", names=np.array(["cat"]))
  with pytest.raises(CheckpointError, match="names is of type <U3"):
    npz.read_npz(path)


@pytest.mark.parametrize("members, message", [
    ({}, "an empty zip"),
    ({"archive/data.pkl": b"x", "archive/data/0": b"x"}, "a PyTorch file"),
    ({"word/document.xml": b"x"}, "a zip with other files"),
    ({"a.npy": b"hello world, no array"}, "a is not an array"),
])
def test_other_zips_are_refused(tmp_path, members, message):
  path = tmp_path / "f.npz"
  with zipfile.ZipFile(path, "w") as archive:
    for name, content in members.items():
      archive.writestr(name, content)
  with pytest.raises(CheckpointError, match=message) as error:
    npz.read_npz(path)
  assert "\n" not in str(error.value)


def test_arrays_are_written_sorted_and_in_c_order(tmp_path):
  arrays = {"b": np.arange(6, dtype="f4").reshape(2, 3), "a": np.ones(2)}
  npz.write_npz(tmp_path / "f.npz", arrays)
  npz.write_npz(tmp_path / "g.npz", {
      "a": arrays["a"], "b": np.asfortranarray(arrays["b"])})
  assert list(npz.read_npz(tmp_path / "f.npz")) == ["a", "b"]
  assert (tmp_path / "f.npz").read_bytes() == (tmp_path / "g.npz").read_bytes()


def test_nothing_non_finite_is_written(tmp_path):
  with pytest.raises(CheckpointError, match="NaN or infinity in head/bias"):
    npz.write_npz(tmp_path / "f.npz", {"head/bias": np.array([np.nan])})
  assert not list(tmp_path.iterdir())

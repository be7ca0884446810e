import io
import zipfile

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from vit_jax.errors import CheckpointError
from vit_jax.weights.formats import npz
from vit_jax.weights.names import flax


@pytest.fixture
def flat(small_model, random_flat):
  return random_flat(small_model(pre_logits=8, resnet=(1,), resnet_width=0.5,
                                 patch_size=(1, 1)))


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
  got = npz.read(tmp_path / "f.npz")
  assert list(got) == list(arrays)
  for name, array in arrays.items():
    np.testing.assert_array_equal(got[name], array)
    assert got[name].shape == np.shape(array)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_bfloat16_comes_back(tmp_path, save):
  array = np.array([1.5, -2.0, 3e38], ml_dtypes.bfloat16)
  save(tmp_path / "f.npz", a=array)
  # What numpy makes of it:
  assert np.load(tmp_path / "f.npz")["a"].dtype == "V2"
  got = npz.read(tmp_path / "f.npz")["a"]
  assert got.dtype == ml_dtypes.bfloat16
  np.testing.assert_array_equal(got, array)


def test_only_wanted_arrays_are_read(tmp_path):
  path = write(tmp_path / "f.npz", a=np.ones(2), b=np.full(2, np.nan))
  assert list(npz.read(path, keep=lambda names: ["a"])) == ["a"]
  with pytest.raises(CheckpointError, match=r"NaN or infinity in b;"):
    npz.read(path)


@pytest.mark.parametrize("where", [0.3, 0.7, 0.999])
def test_a_truncated_file_is_said_to_be_truncated(tmp_path, goldens, where):
  content = (goldens / "gap_layout.npz").read_bytes()
  path = tmp_path / "f.npz"
  path.write_bytes(content[:int(len(content) * where)])
  with pytest.raises(CheckpointError, match="truncated or damaged") as error:
    npz.read(path)
  assert "\n" not in str(error.value)


def test_flipped_bits_are_seen(tmp_path, goldens):
  content = bytearray((goldens / "gap_layout.npz").read_bytes())
  content[len(content) // 2] ^= 1
  path = tmp_path / "f.npz"
  path.write_bytes(content)
  with pytest.raises(CheckpointError, match="cannot be read back as written"):
    npz.read(path)


def test_flipped_bits_are_seen_in_compressed_files(tmp_path):
  buffer = io.BytesIO()
  np.savez_compressed(buffer, a=np.random.default_rng(0).random(5000))
  content = bytearray(buffer.getvalue())
  content[len(content) // 2] ^= 8
  path = tmp_path / "f.npz"
  path.write_bytes(content)
  with pytest.raises(CheckpointError, match="damaged"):
    npz.read(path)


def test_pickled_objects_are_never_opened(tmp_path):
  path = write(tmp_path / "f.npz", fine=np.ones(2),
               config=np.array({"lr": 1.0}, dtype=object))
  with pytest.raises(CheckpointError, match="config holds pickled Python"):
    npz.read(path)


def test_text_arrays_are_refused(tmp_path):
  path = write(tmp_path / "f.npz", names=np.array(["cat"]))
  with pytest.raises(CheckpointError, match="names is of type <U3"):
    npz.read(path)


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
    npz.read(path)
  assert "\n" not in str(error.value)


def test_flatten_and_unflatten_are_inverse():
  tree = {"a": {"b": {"c": 1}, "d": 2}, "e": 3}
  flat = npz.flatten(tree)
  assert flat == {"a/b/c": 1, "a/d": 2, "e": 3}
  assert npz.unflatten(flat) == tree


@pytest.mark.parametrize("dialect", flax.NAMES)
def test_what_is_saved_loads_bit_for_bit(
    tmp_path, flat, assert_same, dialect):
  if dialect == "big_vision":
    # The layout has no row for the class token: only a row of zeros survives.
    flat[flax.POSEMB][:, 0] = 0
  npz.save(tmp_path / "f.npz", npz.unflatten(flat), dialect=dialect)
  got, found = npz.normalise(npz.read(tmp_path / "f.npz"))
  assert found.split()[0] == dialect
  assert_same(got, flat)
  changed = flat | {"head/bias": flat["head/bias"] + 1}
  with pytest.raises(AssertionError):
    assert_same(got, changed)


def test_big_vision_folds_the_position_of_the_class_token(tmp_path, flat):
  npz.save(tmp_path / "f.npz", flat, dialect="big_vision")
  got, _ = npz.normalise(npz.read(tmp_path / "f.npz"))
  row = flat[flax.POSEMB][:, :1]
  assert np.abs(row).min() > 0
  np.testing.assert_array_equal(got["cls"], flat["cls"] + row)
  assert not got[flax.POSEMB][:, 0].any()
  np.testing.assert_array_equal(
      got[flax.POSEMB][:, 1:], flat[flax.POSEMB][:, 1:])


@pytest.mark.parametrize("name", [
    "vit_i21k_layout", "hybrid_layout", "r_ti_layout", "gap_layout"])
def test_released_files_are_written_as_they_were(
    tmp_path, goldens, assert_same, name):
  original = npz.read(goldens / f"{name}.npz")
  npz.save(tmp_path / "f.npz", npz.normalise(original)[0])
  assert_same(dict(np.load(tmp_path / "f.npz")), original)


def test_device_arrays_and_stacked_blocks_are_saved_alike(tmp_path, flat):
  device = jax.tree.map(jnp.asarray, npz.unflatten(flat))
  stacked = npz.unflatten(flax.stack(flat))
  transposed = {n: np.asfortranarray(a) for n, a in flat.items()}
  contents = set()
  for i, tree in enumerate((flat, device, stacked, transposed)):
    npz.save(tmp_path / f"{i}.npz", tree)
    contents.add((tmp_path / f"{i}.npz").read_bytes())
  assert len(contents) == 1


def test_half_precision_is_saved_as_float32(tmp_path, flat):
  half = {n: a.astype(ml_dtypes.bfloat16) for n, a in flat.items()}
  npz.save(tmp_path / "f.npz", half)
  got, _ = npz.normalise(npz.read(tmp_path / "f.npz"))
  for name, array in half.items():
    np.testing.assert_array_equal(got[name], array.astype(np.float32))


def test_nothing_non_finite_is_saved(tmp_path, flat):
  flat["head/bias"][0] = np.nan
  with pytest.raises(CheckpointError, match="NaN or infinity in head/bias"):
    npz.save(tmp_path / "f.npz", flat)
  assert not list(tmp_path.iterdir())


def test_an_unknown_dialect_is_refused(tmp_path, flat):
  with pytest.raises(CheckpointError, match=r"did you mean 'released'"):
    npz.save(tmp_path / "f.npz", flat, dialect="relased")

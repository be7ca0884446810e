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


def broken(tmp_path, content, message):
  path = tmp_path / "broken.npz"
  path.write_bytes(bytes(content))
  with pytest.raises(CheckpointError, match=message) as error:
    npz.read_npz(path)
  assert "\n" not in str(error.value)


def layers():
  rng = np.random.default_rng(0)
  return {f"{name}/{part}": rng.random(5, np.float32)
          for name in ("embedding", "head") for part in ("bias", "kernel")}


@pytest.mark.parametrize("save", [
    np.savez,
    pytest.param(np.savez_compressed, marks=pytest.mark.thorough)])
def test_no_bit_of_the_directory_hides_an_array(tmp_path, save):
  # zipfile, and numpy with it, takes what it can read of a directory: a length
  # changed in one entry hides all that follow.
  path = tmp_path / "f.npz"
  save(path, **layers())
  content = path.read_bytes()
  whole, hidden = npz.read_npz(path), 0
  begin = content.index(b"PK\x01\x02")
  for at in range(begin, len(content)):
    for bit in range(8):
      damaged = bytearray(content)
      damaged[at] ^= 1 << bit
      path.write_bytes(damaged)
      try:
        chex.assert_trees_all_equal(npz.read_npz(path), whole)
      except CheckpointError:
        pass
      try:
        with np.load(path) as file:
          hidden += set(file.files) < set(whole)
      except Exception:
        pass
  assert hidden  # The test would notice.


def test_two_arrays_of_one_name_are_refused(tmp_path):
  path = tmp_path / "f.npz"
  array = io.BytesIO()
  np.save(array, np.ones(3, np.float32))
  with pytest.warns(UserWarning, match="Duplicate"):
    with zipfile.ZipFile(path, "w") as archive:
      for _ in range(2):
        archive.writestr("a.npy", array.getvalue())
  broken(tmp_path, path.read_bytes(), "two arrays of the same name")


def with_header(header, data=b"", compression=zipfile.ZIP_STORED):
  """Returns an npz whose only array has this header."""
  text = header.encode().ljust(118) + b"\n"
  content = io.BytesIO()
  with zipfile.ZipFile(content, "w", compression) as archive:
    archive.writestr("a.npy", b"\x93NUMPY\x01\x00"
                     + len(text).to_bytes(2, "little") + text + data)
  return content.getvalue()


def header(shape, descr="'<f4'", order="False"):
  return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


@pytest.mark.parametrize("compression", [
    zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("shape", [
    "(250000000000,)", "(2,)", "(4,)", "(-3,)", "(1208925819614629174706176,)",
    "(4294967296, 4294967296)", "(True,)", "(1,)*40"])
def test_a_shape_that_is_not_that_of_the_bytes_takes_no_memory(
    tmp_path, shape, compression):
  content = with_header(header(shape), np.ones(3, "<f4").tobytes(), compression)
  broken(tmp_path, content, "truncated or damaged|is not an array")


@pytest.mark.parametrize("text", [
    "-" * 9000, "(" * 9000, "{'descr': '<f4", header("(3,)", "'O'"),
    header("(3,)", "[('a', '<f4')]"), header("('2',)"), "{}", "\0" * 30,
    header("(3,)", "'<f4'", "7")])
def test_a_damaged_header_is_one_line(tmp_path, text):
  broken(tmp_path, with_header(text, bytes(12)), "a: |a is|a holds|damaged")


def test_little_that_becomes_very_much_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(npz, "_SLACK", 1 << 20)
  path = tmp_path / "f.npz"
  np.savez_compressed(path, a=np.zeros(300_000, np.float32))
  broken(tmp_path, path.read_bytes(), "more than 64 times its own size")
  # A head of zeros beside other layers is not.
  np.savez_compressed(
      path, head=np.zeros(250_000, np.float32),
      rest=np.random.default_rng(0).random(100_000, np.float32))
  assert set(npz.read_npz(path)) == {"head", "rest"}


def test_the_sum_of_a_compressed_array_is_compared(tmp_path):
  path = tmp_path / "f.npz"
  np.savez_compressed(path, a=np.arange(64, dtype=np.float32))
  content = bytearray(path.read_bytes())
  for signature, place in ((b"PK\x01\x02", 16), (b"PK\x03\x04", 14)):
    content[content.index(signature) + place] ^= 1
  broken(tmp_path, content, "CRC")


def test_names_that_are_no_text_are_refused(tmp_path):
  path = tmp_path / "f.npz"
  np.savez(path, **{"a\nb": np.ones(2)})
  broken(tmp_path, path.read_bytes(), "as the name of an array")
  np.savez(path, **{"x" * 600: np.ones(2)})
  broken(tmp_path, path.read_bytes(), "as the name of an array")


def test_a_comment_of_the_archive_is_no_damage(tmp_path):
  path = tmp_path / "f.npz"
  np.savez(path, a=np.ones(2))
  with zipfile.ZipFile(path, "a") as archive:
    archive.comment = b"a description"
  np.testing.assert_array_equal(npz.read_npz(path)["a"], np.ones(2))
  broken(tmp_path, path.read_bytes() + b"x", "behind its end|damaged")


def test_the_digest_is_that_of_names_and_numbers(tmp_path):
  def digest(**arrays):
    npz.write_npz(tmp_path / "f.npz", arrays)
    return npz.npz_digest(tmp_path / "f.npz")

  one = digest(a=np.ones(3), b=np.zeros(2))
  assert one == digest(b=np.zeros(2), a=np.ones(3))
  assert len({one, digest(a=np.ones(3), c=np.zeros(2)),
              digest(a=np.ones(3), b=np.ones(2)), digest(a=np.ones(3))}) == 4

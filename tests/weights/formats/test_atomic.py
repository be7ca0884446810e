import pytest

from vit_jax.weights.formats.atomic import atomic_write


def test_atomic_write_leaves_the_old_file_when_writing_fails(tmp_path):
  path = tmp_path / "model.npz"
  path.write_bytes(b"old")
  with pytest.raises(RuntimeError), atomic_write(path) as file:
    file.write(b"ne")
    raise RuntimeError
  assert path.read_bytes() == b"old"
  assert list(tmp_path.iterdir()) == [path]


def test_atomic_write_shows_nothing_before_the_end(tmp_path):
  path = tmp_path / "new" / "model.npz"
  with atomic_write(path) as file:
    file.write(b"new")
    assert not path.exists()
  assert path.read_bytes() == b"new"
  assert list(path.parent.iterdir()) == [path]

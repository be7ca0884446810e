import errno
import os
import pathlib

import pytest

from vit_jax.weights.formats.atomic import atomic_write, write_whole


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


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_is_said_of_the_file(tmp_path, monkeypatch, call):
  def fail(*_):
    raise OSError(errno.EIO, os.strerror(errno.EIO))

  path = tmp_path / "model.npz"
  path.write_bytes(b"old")
  monkeypatch.setattr(os, call, fail)
  with pytest.raises(OSError, match="Input/output") as error:
    write_whole(path, b"new")
  assert error.value.filename == str(path)
  assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_what_fails_first_is_what_is_said(tmp_path, monkeypatch):
  def fail(self, missing_ok=False):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

  monkeypatch.setattr(pathlib.Path, "unlink", fail)
  with pytest.raises(ValueError, match="the reason"):
    with atomic_write(tmp_path / "a"):
      raise ValueError("the reason")

"""Archives that lie about their size, or grow without end."""

import gzip
import io
import os
import tarfile

import pytest

from vit_jax.data.prepare import archives
from vit_jax.errors import DataError


def test_what_unpacks_without_end_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(archives, "_SLACK", 1 << 20)
  path = tmp_path / "bomb.tar.gz"
  with gzip.open(path, "wb") as file:
    for _ in range(64):
      file.write(bytes(1 << 20))
  with pytest.raises(DataError, match="bytes in it") as error:
    archives.plain(str(path), str(tmp_path / "scratch"))
  assert "\n" not in str(error.value)
  assert not os.listdir(tmp_path / "scratch")


def test_an_honest_archive_is_unpacked_once(tmp_path):
  content = os.urandom(1 << 16)
  path = tmp_path / "a.tar.gz"
  path.write_bytes(gzip.compress(content))
  plain = archives.plain(str(path), str(tmp_path / "scratch"))
  with open(plain, "rb") as file:
    assert file.read() == content
  assert archives.plain(str(path), str(tmp_path / "scratch")) == plain


def tar_of(size_field=None, pax=None):
  """Returns a tar of one file whose size is given in another way."""
  out = io.BytesIO()
  with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
    info = tarfile.TarInfo("a")
    info.size = 100
    if pax:
      info.pax_headers = pax
    tar.addfile(info, io.BytesIO(bytes(100)))
  data = bytearray(out.getvalue())
  if size_field:
    data[124:136] = size_field
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
  return bytes(data)


@pytest.mark.parametrize("content", [
    tar_of(b"\xff" * 12), tar_of(b"\x80" + b"\xff" * 11),
    tar_of(pax={"size": "-1000000"}), tar_of(pax={"size": "99999999999999"})],
    ids=range(4))
def test_sizes_that_no_file_has_are_one_line(tmp_path, content):
  path = tmp_path / "a.tar"
  path.write_bytes(content)
  with pytest.raises(DataError) as error:
    archives.members(str(path))
  assert "\n" not in str(error.value) and str(path) in str(error.value)

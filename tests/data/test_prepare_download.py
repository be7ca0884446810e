"""The command: downloads what is missing, Ctrl-C, and what it prints."""

import _thread
import functools
import hashlib
import http.server
import json
import os
import threading
import time

import make_archives as archives
import pytest

from vit_jax.__main__ import main
from vit_jax.data.prepare import (
  checksums,
  cifar,
  counts,
  oxford,
  records,
  shards,
)
from vit_jax.data.sources import make_source


class Quiet(http.server.SimpleHTTPRequestHandler):
  def log_message(self, *_):
    pass


@pytest.fixture
def server(tmp_path):
  """An address at which the files of a folder can be had."""
  folder = tmp_path / "published"
  folder.mkdir()
  with http.server.ThreadingHTTPServer(
      ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as served:
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield str(folder), f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    thread.join()


def test_missing_archives_are_downloaded(server, tmp_path, monkeypatch, capsys):
  """All three that Flowers needs, one after the other, each checked."""
  folder, address = server
  archives.flowers(folder)
  monkeypatch.setattr(oxford, "FLOWERS_PAGE", address)
  known = {}
  for name in os.listdir(folder):
    data = open(f"{folder}/{name}", "rb").read()
    known[f"{address}/{name}"] = checksums.Checksum(
        len(data), hashlib.sha256(data).hexdigest())
  monkeypatch.setattr(checksums, "_table", lambda: known)
  flags = ["prepare", "oxford_flowers102", f"--data_dir={tmp_path}/data",
           "--partial"]
  assert main(flags) == 1
  assert "or download it with --download" in capsys.readouterr().err
  assert main([*flags, "--download"]) == 0
  out, err = capsys.readouterr()
  assert err.count("downloading") == 3
  assert sorted(os.listdir(f"{tmp_path}/data/downloads/manual")) == [
      "102flowers.tgz", "imagelabels.mat", "setid.mat"]
  assert out.startswith("tfds:oxford_flowers102  prepared in ")
  lines = [line.split() for line in out.splitlines()]
  assert ["validation", "3", "1,020"] in lines
  assert main([*flags, "--json"]) == 0
  report, = json.loads(capsys.readouterr().out)["datasets"]
  assert report["how"] == "was there"


def test_a_changed_file_is_refused(server, tmp_path, monkeypatch, capsys):
  folder, address = server
  archives.cifar10(folder, count=1)
  name = "cifar-10-binary.tar.gz"
  monkeypatch.setattr(cifar, "BASE", address)
  monkeypatch.setattr(checksums, "_table", lambda: {
      f"{address}/{name}": checksums.Checksum(
          os.path.getsize(f"{folder}/{name}"), "0" * 64)})
  assert main(["prepare", "cifar10", f"--data_dir={tmp_path}/data",
               "--download"]) == 1
  assert "the content has changed" in capsys.readouterr().err
  assert not os.path.exists(f"{tmp_path}/data/downloads/manual/{name}")


def test_tfds_knows_all_addresses():
  for url in (f"{cifar.BASE}/cifar-10-binary.tar.gz",
              f"{cifar.BASE}/cifar-100-binary.tar.gz",
              f"{oxford.PETS_BASE}/images.tar.gz",
              f"{oxford.PETS_BASE}/annotations.tar.gz",
              f"{oxford.FLOWERS_PAGE}/102flowers.tgz",
              "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz"):
    known = checksums.checksum(url)
    assert known.size > 1e6 and len(known.sha256) == 64
  assert checksums.checksum("https://example.org/x") is None


def test_ctrl_c_keeps_what_is_finished(tmp_path, monkeypatch, capsys):
  """Exit code 130, a word of advice, and the same command goes on."""
  archives.cifar10(tmp_path / "archives", count=10)
  archives.expect(monkeypatch, "cifar10", counts.Expected(
      10, {"train": 50, "test": 10}))
  monkeypatch.setattr(shards, "SHARD_BYTES", 4 * 3072)
  encoder, calls = records.encoder, []

  def slow(*args):
    encode = encoder(*args)

    def wrapper(*args):
      calls.append(1)
      if len(calls) == 20:
        _thread.interrupt_main()
      if len(calls) >= 20:
        time.sleep(0.05)
      return encode(*args)
    return wrapper

  flags = ["prepare", "cifar10", f"--data_dir={tmp_path}/data", "--workers=1",
           f"--manual_dir={tmp_path}/archives"]
  with monkeypatch.context() as patch:
    patch.setattr(records, "encoder", slow)
    assert main(flags) == 130
  assert "the same command resumes" in capsys.readouterr().err
  assert main([*flags, "--json"]) == 0
  report, = json.loads(capsys.readouterr().out)["datasets"]
  assert 4 <= report["reused"] < report["shards"] == 16
  assert report["splits"] == {"train": 50, "test": 10}
  source = make_source("tfds:cifar10", split="test",
                       data_dir=f"{tmp_path}/data")
  assert sorted(source[i]["label"] for i in range(10)) == list(range(10))

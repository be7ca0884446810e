"""Servers and buckets: what is refused, tried again, and reported."""

import socket
import time

from file_server import FILE, QUICK, npz, same, serving
import fsspec
import pytest

from vit_jax.errors import UserError
from vit_jax.weights.hub import download as module
from vit_jax.weights.hub import http, partial_file
from vit_jax.weights.hub.arrived import check_weights
from vit_jax.weights.hub.download import download


@pytest.fixture
def server():
  with serving() as server:
    yield server


@pytest.fixture
def target(tmp_path):
  return tmp_path / "cache" / "augreg" / "Ti.npz"


def test_nor_if_the_server_ignores_if_range(server, target):
  # It sends the piece asked for, of another version.
  new = npz(seed=1)
  part = target.with_name("Ti.npz.part")
  target.parent.mkdir(parents=True)
  partial_file.begin_partial(part, server.url + FILE, '"of old"')
  part.write_bytes(server.files[FILE][:30_000])
  server.files[FILE] = new
  etag_blind = http._open_http

  def drop_if_range(url, start, version, timeout):
    request = http.urllib.request.Request

    def plain(url, headers):
      return request(
          url, headers={k: v for k, v in headers.items() if k != "If-Range"})

    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(http.urllib.request, "Request", plain)
      return etag_blind(url, start, version, timeout)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(http, "_open_http", drop_if_range)
    download(server.url + FILE, target, check=check_weights, **QUICK)
  assert server.statuses() == [206, 200]
  assert same(target, new)


@pytest.mark.parametrize(["status", "words"], [
    (404, "no such file; check the name"), (403, "forbids"),
    (401, "login"), (410, "gone"), (418, "HTTP 418")])
def test_refusals_are_not_tried_again(server, target, status, words):
  server.default = dict(status=status)
  with pytest.raises(UserError, match=words) as error:
    download(server.url + FILE, target, **QUICK)
  assert server.url + FILE in str(error.value)
  assert "\n" not in str(error.value)
  assert server.statuses() == [status]
  assert not target.exists()


@pytest.mark.parametrize("status", [408, 416, 429, 500, 503])
def test_passing_failures_are_tried_again(server, target, status):
  server.plan = [dict(cut=30_000), dict(status=status), dict(status=status)]
  download(server.url + FILE, target, **QUICK)
  assert server.statuses()[:3] == [200, status, status]
  assert same(target, server.files[FILE])


@pytest.mark.parametrize("status", [416, 500])
def test_lasting_failures_end(server, target, status):
  server.default = dict(status=status)
  with pytest.raises(UserError, match="gave up after 3 failures in a row"):
    download(server.url + FILE, target, retries=2, **QUICK)
  assert server.statuses() == [status] * 3


def test_waits_double_up_to_a_cap(server, target, monkeypatch):
  waits = []
  monkeypatch.setattr(module.time, "sleep", waits.append)
  server.default = dict(status=500)
  with pytest.raises(UserError):
    download(server.url + FILE, target, retries=8, backoff=0.5)
  assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_nobody_listens(target):
  with socket.socket() as closed:
    closed.bind(("127.0.0.1", 0))
    port = closed.getsockname()[1]
  with pytest.raises(UserError, match="refused.*Put the file at .*Ti.npz$"):
    download(f"http://127.0.0.1:{port}/x", target, retries=1, **QUICK)


def test_silence_is_a_failure_and_keeps_what_came(server, target):
  server.plan = [dict(cut=30_000, stall=30)]
  start = time.monotonic()
  download(server.url + FILE, target, backoff=0.01, timeout=0.3)
  assert time.monotonic() - start < 10
  assert server.requests[1][1] == "bytes=30000-"
  assert same(target, server.files[FILE])


def test_lasting_silence_ends(server, target):
  server.default = dict(cut=0, stall=30)
  with pytest.raises(UserError, match="timeout"):
    download(server.url + FILE, target, retries=1, backoff=0.01, timeout=0.2)


def test_a_slow_server_is_no_failure(server, target):
  server.plan = [dict(before=lambda: time.sleep(0.3))]
  download(server.url + FILE, target, retries=0, timeout=2.0)
  assert same(target, server.files[FILE])


@pytest.mark.parametrize("url", ["http://", "https://[::1", "nope://a/b.npz"])
def test_addresses_that_are_none(url, target):
  with pytest.raises(UserError):
    download(url, target, retries=0, **QUICK)


def test_buckets_come_through_fsspec(target):
  data = npz(seed=2)
  bucket = fsspec.filesystem("memory")
  bucket.pipe("/bucket/Ti.npz", data)
  try:
    download("memory://bucket/Ti.npz", target, check=check_weights)
    assert same(target, data)
    target.unlink()
    part = target.with_name("Ti.npz.part")
    version = bucket.ukey("/bucket/Ti.npz")
    partial_file.begin_partial(part, "memory://bucket/Ti.npz", version)
    part.write_bytes(data[:1000])
    with http.open_url(
        "memory://bucket/Ti.npz", 1000, version, 1.0).stream as stream:
      assert stream.read() == data[1000:]
    download("memory://bucket/Ti.npz", target, check=check_weights)
    assert same(target, data)
    with pytest.raises(UserError, match="memory://bucket/no.npz: there is no"):
      download("memory://bucket/no.npz", target.with_name("no.npz"))
  finally:
    bucket.rm("/bucket", recursive=True)


def test_a_bucket_without_its_package(target, monkeypatch):
  def missing(url):
    raise ImportError("Please install gcsfs")

  monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
  with pytest.raises(UserError, match="gs://b/x.npz.*pip install gcsfs"):
    download("gs://b/x.npz", target)

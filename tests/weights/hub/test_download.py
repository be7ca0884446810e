"""Downloads against a server on loopback that fails in every way."""

import base64
import errno
import fcntl
import hashlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys

from file_server import FILE, QUICK, npz, same, serving
import pytest

from vit_jax.errors import CheckpointError, UserError
from vit_jax.weights.hub import download as module
from vit_jax.weights.hub.arrived import ExpectedSize, check_weights
from vit_jax.weights.hub.download import download


@pytest.fixture
def server():
  with serving() as server:
    yield server


@pytest.fixture
def target(tmp_path):
  return tmp_path / "cache" / "augreg" / "Ti.npz"


def leftovers(target):
  return sorted(p.name for p in target.parent.iterdir() if p != target)


def test_the_file_arrives_whole_and_alone(server, target):
  assert download(server.url + FILE, target, check=check_weights) == target
  assert same(target, server.files[FILE])
  assert leftovers(target) == []


def test_a_file_that_is_here_never_touches_the_network(target, monkeypatch):
  target.parent.mkdir(parents=True)
  target.write_bytes(b"old")
  monkeypatch.setattr(socket, "socket", None)
  monkeypatch.setattr(socket, "create_connection", None)
  download("http://127.0.0.1:1/x.npz", target)
  assert target.read_bytes() == b"old"
  with pytest.raises(TypeError):  # no socket without the file
    download("http://127.0.0.1:1/x.npz", target.with_name("y"))


@pytest.mark.parametrize("fault", [
    dict(cut=40_000), dict(cut=40_000, reset=True), dict(cut=40_000, lie=7)])
def test_a_cut_connection_is_resumed(server, target, fault):
  server.plan = [fault, dict(cut=20_000)]
  download(server.url + FILE, target, check=check_weights, **QUICK)
  assert same(target, server.files[FILE])
  statuses = server.statuses()
  # A reset may take some of what was sent along, but no try starts again.
  assert statuses[0] == 200 and set(statuses[1:]) == {206}
  if "reset" not in fault:
    assert server.requests[1][1] == "bytes=40000-"
    assert server.sent == len(server.files[FILE])


def test_a_later_call_goes_on_where_the_last_stopped(server, target):
  server.plan = [dict(cut=70_000)]
  with pytest.raises(UserError, match="gave up.*70,000 bytes that have arr"):
    download(server.url + FILE, target, retries=0, **QUICK)
  assert not target.exists()
  download(server.url + FILE, target, **QUICK)
  assert server.requests[1][1] == "bytes=70000-"
  assert same(target, server.files[FILE])
  assert leftovers(target) == []


def test_all_bytes_here_but_the_rename(server, target):
  data = server.files[FILE]
  server.plan = [dict(lie=10)]  # all came, and the server promised more
  with pytest.raises(UserError, match="ended after"):
    download(server.url + FILE, target, retries=0, **QUICK)
  download(server.url + FILE, target, check=check_weights, **QUICK)
  assert server.statuses() == [200, 416]
  assert same(target, data)


def test_two_versions_are_never_glued(server, target):
  old, new = server.files[FILE], npz(seed=1)
  assert len(old) == len(new)

  def change():
    server.files[FILE] = new

  server.plan = [dict(cut=50_000), dict(before=change)]
  download(server.url + FILE, target, check=check_weights, **QUICK)
  assert server.statuses() == [200, 200]
  assert same(target, new)


def test_another_address_does_not_continue_the_part(server, target):
  server.files["/mirror/Ti.npz"] = npz(seed=1)
  server.plan = [dict(cut=50_000)]
  with pytest.raises(UserError):
    download(server.url + FILE, target, retries=0, **QUICK)
  download(server.url + "/mirror/Ti.npz", target, **QUICK)
  assert same(target, npz(seed=1))
  assert server.requests[1][1] is None


@pytest.mark.parametrize("fault", [
    dict(ranges=False), dict(versions=False), dict(weak=True)])
def test_servers_that_cannot_resume(server, target, fault):
  server.default = fault
  server.plan = [dict(fault, cut=50_000)]
  download(server.url + FILE, target, check=check_weights, **QUICK)
  assert server.statuses() == [200, 200]
  assert same(target, server.files[FILE])


def test_such_a_server_cannot_keep_us_for_ever(server, target, monkeypatch):
  monkeypatch.setattr(module, "CHUNK", 10_000)  # what counts as progress
  server.default = dict(ranges=False, cut=50_000)
  with pytest.raises(UserError, match="gave up after 4 failures"):
    download(server.url + FILE, target, retries=3, **QUICK)
  assert len(server.requests) == 4


def test_progress_resets_the_count_of_failures(server, target, monkeypatch):
  monkeypatch.setattr(module, "CHUNK", 10_000)
  server.default = dict(cut=11_000)
  download(server.url + FILE, target, retries=1, **QUICK)
  assert len(server.requests) == 10
  assert same(target, server.files[FILE])


def test_a_content_length_that_promises_too_much(server, target):
  server.default = dict(lie=1000)
  data = server.files[FILE]
  with pytest.raises(UserError, match=f"after {len(data):,} of"):
    download(server.url + FILE, target, retries=0, **QUICK)
  assert not target.exists()


def test_a_content_length_that_promises_too_little(server, target):
  server.default = dict(lie=-1000)
  with pytest.raises(CheckpointError, match="truncated or damaged .npz"):
    download(server.url + FILE, target, check=check_weights, **QUICK)
  assert leftovers(target) == []
  assert not target.exists()


def test_the_size_must_be_the_published_one(server, target):
  size = len(server.files[FILE])
  with pytest.raises(CheckpointError, match="has about"):
    download(server.url + FILE, target,
             expected=ExpectedSize(size + 101, 100), **QUICK)
  assert server.sent <= size and not target.exists()
  download(server.url + FILE, target, expected=ExpectedSize(size + 99, 100))
  assert target.exists()


@pytest.mark.parametrize(["content", "words"], [
    (b"<!doctype html><p>Sign in", "HTML"), (b"", "an empty file"),
    (b"PK\x05\x06" + bytes(18), "empty zip")])
def test_what_is_no_npz_says_what_it_is(server, target, content, words):
  server.files[FILE] = content
  with pytest.raises(CheckpointError, match=words) as error:
    download(server.url + FILE, target, check=check_weights, **QUICK)
  assert str(error.value).startswith(server.url + FILE)
  assert not target.exists()


def test_a_full_disk_is_seen_before_the_download(server, target, monkeypatch):
  monkeypatch.setattr(
      shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 5))
  with pytest.raises(UserError, match="disk full .*VIT_JAX_CACHE"):
    download(server.url + FILE, target, **QUICK)


def test_a_disk_that_fills_up_meanwhile(server, target, monkeypatch):
  def fsync(_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, "fsync", fsync)
  with pytest.raises(UserError, match="disk full"):
    download(server.url + FILE, target, **QUICK)
  assert len(server.requests) == 1


def test_a_cache_that_cannot_be_written(server, tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="cannot write.*VIT_JAX_CACHE"):
    download(server.url + FILE, tmp_path / "file" / "Ti.npz")


@pytest.mark.multiprocess
def test_eight_processes_make_one_download(server, target):
  server.files[FILE] = npz(seed=0, size=3_000_000)
  server.plan = [dict(cut=2_000_000)]
  code = (
      "import pathlib, sys\n"
      "from vit_jax.weights.hub.arrived import check_weights\n"
      "from vit_jax.weights.hub.download import download\n"
      "print('ready', flush=True); sys.stdin.readline()\n"
      "download(sys.argv[1], pathlib.Path(sys.argv[2]), check=check_weights)")
  workers = [
      subprocess.Popen(
          [sys.executable, "-c", code, server.url + FILE, str(target)],
          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
          env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
      for _ in range(8)]
  for worker in workers:
    assert worker.stdout.readline() == "ready\n"
  for worker in workers:  # all at once
    worker.stdin.write("go\n")
    worker.stdin.flush()
  for worker in workers:
    worker.communicate(timeout=60)
  assert [worker.returncode for worker in workers] == [0] * 8
  assert server.statuses() == [200, 206]
  assert server.sent == len(server.files[FILE])
  assert same(target, server.files[FILE])
  assert leftovers(target) == []


def _hold(lock):
  """Starts a process that holds the lock."""
  code = ("import fcntl, sys, time; f = open(sys.argv[1], 'w');"
          "fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True);"
          "time.sleep(60)")
  holder = subprocess.Popen(
      [sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE)
  assert holder.stdout.readline() == b"held\n"
  holder.stdout.close()
  return holder


@pytest.mark.multiprocess
def test_a_dead_holder_does_not_block(server, target):
  target.parent.mkdir(parents=True)
  lock = target.with_name("Ti.npz.lock")
  holder = _hold(lock)
  with lock.open("w") as f, pytest.raises(BlockingIOError):
    fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
  holder.send_signal(signal.SIGKILL)
  holder.wait()
  download(server.url + FILE, target, **QUICK)
  assert same(target, server.files[FILE])


@pytest.mark.multiprocess
def test_who_waits_takes_the_file_of_the_holder(server, target, monkeypatch):
  target.parent.mkdir(parents=True)
  holder = _hold(target.with_name("Ti.npz.lock"))
  logged = []

  def info(*args):
    logged.append(args)  # the holder finishes while we wait
    target.write_bytes(b"theirs")
    holder.kill()
    holder.wait()

  monkeypatch.setattr(module.logging, "info", info)
  download(server.url + FILE, target, **QUICK)
  assert len(logged) == 1 and server.requests == []
  assert target.read_bytes() == b"theirs"


def test_progress_lines_where_there_is_no_terminal(
    server, target, monkeypatch, capfd):
  logged = []
  monkeypatch.setattr(module, "LOG_SECONDS", 0.0)
  monkeypatch.setattr(module.logging, "info", lambda *a: logged.append(a))
  download(server.url + FILE, target)
  assert logged and logged[-1][1:] == (
      "Ti.npz", len(server.files[FILE]) / 2**20, "0.1")
  assert capfd.readouterr().err == ""


def test_a_bar_on_a_terminal(server, target, monkeypatch):
  class Terminal(io.StringIO):

    def isatty(self):
      return True

  terminal = Terminal()
  monkeypatch.setattr(sys, "stderr", terminal)
  download(server.url + FILE, target)
  assert "Ti.npz: 100%" in terminal.getvalue()


def test_a_server_that_never_ends_is_refused(server, target, monkeypatch):
  monkeypatch.setattr(module, "MOST_BYTES", 60_000)
  with pytest.raises(CheckpointError, match="more than 60,000 bytes"):
    download(server.url + FILE, target, **QUICK)
  assert leftovers(target) == []


def test_what_does_not_begin_as_weights_is_not_waited_for(server, target):
  server.files[FILE] = b"<html>" + bytes(30_000_000)
  with pytest.raises(CheckpointError, match="the server sends an HTML"):
    download(server.url + FILE, target, check=check_weights, **QUICK)
  assert leftovers(target) == []
  assert server.sent < 20_000_000


@pytest.mark.parametrize("right", [True, False])
def test_the_md5_of_googles_buckets_is_compared(
    server, target, monkeypatch, right):
  data = server.files[FILE] if right else b"another"
  md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
  real = module.http._read_headers

  def read_headers(response, *rest):
    response.headers["x-goog-hash"] = f"crc32c=AAAAAA==,md5={md5}"
    return real(response, *rest)

  monkeypatch.setattr(module.http, "_read_headers", read_headers)
  if right:
    download(server.url + FILE, target, **QUICK)
    return
  with pytest.raises(CheckpointError, match=r"not what the server holds"):
    download(server.url + FILE, target, **QUICK)
  assert leftovers(target) == []


def test_a_failure_leaves_no_lock(server, target):
  with pytest.raises(UserError):
    download(server.url + "/missing.npz", target, **QUICK)
  assert leftovers(target) == []

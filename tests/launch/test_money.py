"""A job ends by itself: limits, self-deletion, a watcher that is no laptop."""

import json
import shutil
import subprocess
import threading
import time

import fake_machine
import pytest

from launch import source

PLACE = ("--accelerator=v5litepod-4", "--zone=us-west4-a",
         "--bucket=gs://bkt", "--project=my-project", "--name=x",
         "--data=gs://data/tfds")
TRAINER = ("--", "--config=c d", "--x='$y'")


@pytest.fixture
def slice_(machine):
  """A machine of a slice that exists, after its boot."""
  machine.cloud.fake.state = "there"
  machine.run()
  return machine


def deletions(machine):
  return machine.cloud.calls("queued-resources", "delete")


def test_the_slice_deletes_itself_after_the_last_done_marker(slice_):
  slice_.set(WORKERS="2")
  slice_.run()
  slice_.run("train")
  slice_.run("stopped", EXIT_CODE="exited", EXIT_STATUS="0")
  assert slice_.called("systemctl start --no-block vit-end")
  slice_.cloud.tool("sleep", '#!/bin/bash\necho "sleep $*" >> "$FAKE_LOG"\n'
                    '[[ $1 != 30 ]] || mkdir -p "$OTHER" && '
                    'echo ok > "$OTHER/done"\n')
  other = slice_.inbox.parent / "logs/slice_0_worker_1"
  slice_.run("end", OTHER=str(other))
  assert slice_.called("sleep 30") == ["sleep 30"]  # for the other's marker
  call, = deletions(slice_)
  assert call[4] == "x" and set(call) >= {"--zone=us-west4-a", "--force"}
  assert slice_.sent("NOT_DELETED") is None


def test_a_group_of_compute_engine_deletes_itself(slice_):
  slice_.tell("attributes/created-by",
              "projects/1/zones/us-west4-a/instanceGroupManagers/x")
  slice_.cloud.fake.made.add("x")
  slice_.run("end")
  assert slice_.cloud.calls("instance-groups", "managed", "delete", "x",
                            "--zone=us-west4-a", "--quiet")


def test_a_failed_job_deletes_its_slice_and_a_kept_one_does_not(slice_):
  slice_.run("failed", code=1)
  assert slice_.called("systemctl start --no-block vit-end")
  slice_.run("end")
  assert len(deletions(slice_)) == 1
  slice_.cloud.fake.state = "there"
  slice_.set(SELF_DELETE="0")
  slice_.run()
  slice_.run("end")
  assert len(deletions(slice_)) == 1


def test_a_slice_without_the_right_says_so(machine):
  machine.run()  # the fake knows of no slice, and refuses
  machine.run("end")
  assert len(deletions(machine)) == 5
  assert "delete it by hand" in machine.sent("NOT_DELETED")


def test_a_machine_that_cannot_even_fetch_its_job_ends_too(machine):
  machine.cloud.fake.state = "there"
  shutil.rmtree(machine.inbox)
  machine.run(code=1)
  assert machine.sent("FAILED") and len(deletions(machine)) == 1


def test_hours_are_counted_over_slices_and_end_the_job(slice_):
  slice_.set(MAX_HOURS="1")
  slice_.run()
  (slice_.inbox.parent / "minutes").write_text("50\n")
  slice_.run("limit")
  assert len(slice_.called("sleep 60")) == 10
  assert slice_.sent("minutes") == "60\n"
  assert slice_.called("systemctl stop vit-train")
  assert "limit of 1 hours" in slice_.sent("FAILED")
  assert slice_.called("systemctl start --no-block vit-end")


@pytest.mark.parametrize("setting,worker", [("0", "0"), ("1", "1")])
def test_no_limit_and_other_workers_count_nothing(machine, setting, worker):
  machine.set(MAX_HOURS=setting)
  machine.tell("attributes/agent-worker-number", worker)
  machine.run()
  machine.run("limit")
  assert not machine.called("sleep 60") and not machine.sent("FAILED")


def test_the_trainer_is_told_how_often_it_may_begin_at_a_step(slice_):
  python = slice_.root / "opt/vit/venv/bin/python"
  python.write_text("#!/bin/bash\necho \"$VIT_MAX_REPEATS\"\n")
  assert slice_.run("train").stdout == "3\n"


def watching(cloud, machine, tmp_path):
  """Runs watch_vm.sh as the small machine would, in a thread."""
  root = tmp_path / "watch_vm"
  metadata = tmp_path / "watch_metadata"
  (metadata / "attributes").mkdir(parents=True)
  (metadata / "attributes/vit-job").write_text("gs://bkt/x")
  (metadata / "name").write_text("x-watch")
  (metadata / "zone").write_text("projects/1/zones/us-west4-a")
  done = []
  env = machine.env | {"VIT_ROOT": str(root), "FAKE_METADATA": str(metadata)}

  def work():
    done.append(subprocess.run(
        ["bash", str(source.ROOT / "launch/watch_vm.sh")], env=env,
        capture_output=True, text=True, timeout=60))

  thread = threading.Thread(target=work)
  thread.start()
  return thread, done


def wait_for(condition):
  deadline = time.monotonic() + 40
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.02)


def test_the_whole_life_without_a_laptop(cloud, tmp_path, monkeypatch, inputs):
  """Create, feed, train, preempt, recreate, finish, delete."""
  monkeypatch.setattr(source, "tracked", lambda: sorted(
      str(p.relative_to(source.ROOT)) for p in
      [*(source.ROOT / "launch").glob("*"),
       source.ROOT / "vit_jax/__init__.py",
       source.ROOT / "vit_jax/moved.py",
       source.ROOT / "vit_jax/devices/__init__.py",
       source.ROOT / "vit_jax/devices/chips.py"] if p.is_file()))
  cloud.play(lives=[["PROVISIONING", "ACTIVE"], ["ACTIVE"]])
  started = cloud.run("run.py", *PLACE, "--watch-vm", *TRAINER)
  assert started.returncode == 0, started.stderr
  assert set(cloud.fake.machines) == {"x-watch"}
  # From here on, nothing is run by the laptop.
  shutil.copytree(cloud.bucket / "bkt/x/job", tmp_path / "job")
  machine = fake_machine.Machine(cloud, tmp_path / "one", tmp_path / "job")
  # The watcher's poll is fast: its sleeps are those of Python.
  monkeypatch.setenv("PYTHONPATH", "")
  patient = tmp_path / "sitecustomize"
  patient.mkdir()
  (patient / "sitecustomize.py").write_text(
      "import time\nreal = time.sleep\ntime.sleep = lambda s: real(0.05)\n")
  machine.env["PYTHONPATH"] = str(patient)
  thread, done = watching(cloud, machine, tmp_path)
  wait_for(lambda: cloud.fake.creations == 1)
  machine.run()
  assert len(list((machine.root / "mnt/vit-data").rglob("train*"))) == 3
  machine.run("train")
  machine.run("stopped", EXIT_CODE="exited", EXIT_STATUS="42")
  cloud.fake.script["lives"][0][:] = ["SUSPENDED"]  # taken away
  wait_for(lambda: cloud.fake.creations == 2)
  again = fake_machine.Machine(cloud, tmp_path / "two", tmp_path / "job")
  again.run()
  again.run("train")
  again.run("stopped", EXIT_CODE="exited", EXIT_STATUS="0")
  again.run("end")
  thread.join(40)
  assert done and done[0].returncode == 0, done
  assert cloud.fake.state in ("missing", "leaving")
  assert not cloud.fake.machines  # the watching machine deleted itself
  assert cloud.fake.creations == 2


def test_deleting_a_watched_job_deletes_its_watcher_first(cloud, monkeypatch):
  monkeypatch.setattr(source, "tracked", lambda: [source.STARTUP])
  cloud.play(lives=[["ACTIVE"]])
  assert cloud.run("run.py", *PLACE, "--watch-vm", *TRAINER).returncode == 0
  cloud.fake.create()
  assert cloud.run("watch.py", "gs://bkt/x", "--delete").returncode == 0
  deleted = [c for c in cloud.calls() if "delete" in c]
  assert [c[1] for c in deleted] == ["instances", "tpus"]


NODE = {"name": "projects/p/locations/z/nodes/x", "state": "READY",
        "createTime": "2020-01-01T00:00:00.123456789Z",
        "labels": {"vit-job": "x"}}


def test_status_lists_what_is_there_with_its_age(cloud):
  cloud.play(
      nodes=json.dumps([NODE, {"name": "a/b", "labels": {}}]),
      requests=json.dumps([
          {"name": "projects/p/locations/z/queuedResources/y",
           "state": {"state": "WAITING_FOR_RESOURCES"},
           "createTime": "not a time",
           "tpu": {"nodeSpec": [{"node": {"labels": {"vit-job": "y"}}}]}}]),
      instances=json.dumps([
          {"name": "x-watch", "status": "RUNNING",
           "creationTimestamp": "2020-01-01T00:00:00.123-08:00",
           "labels": {"vit-job": "x"}}]))
  done = cloud.run("status.py")
  assert done.returncode == 0, done.stderr
  head, node, request, machine = (
      line.split() for line in done.stdout.splitlines())
  assert head == ["what", "name", "job", "state", "age"]
  assert node[2:5] == ["x", "x", "READY"] and node[-1] == "days"
  assert request == ["request", "y", "y", "WAITING_FOR_RESOURCES", "?"]
  assert machine[1:4] == ["x-watch", "x", "RUNNING"]


def test_status_of_one_job(cloud, monkeypatch):
  monkeypatch.setattr(source, "tracked", lambda: [source.STARTUP])
  cloud.play(lives=[["ACTIVE"]], nodes=json.dumps([NODE]))
  assert cloud.run("status.py").stdout.splitlines()[1].startswith("TPU VM")
  cloud.run("run.py", *PLACE, "--no-watch", *TRAINER)
  (cloud.bucket / "bkt/x/heartbeat.json").write_text('{"step": 7}')
  done = cloud.run("status.py", "gs://bkt/x/")
  assert done.returncode == 0, done.stderr
  assert 'heartbeat.json: {"step": 7}' in done.stdout
  assert "READY" in done.stdout
  unknown = cloud.run("status.py", "gs://bkt/y")
  assert unknown.returncode == 2 and "job.json is not there" in unknown.stderr
  cloud.play(nodes="<html>")
  assert cloud.run("status.py").returncode == 1

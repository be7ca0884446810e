"""The watcher's whole state machine, against a stand-in gcloud."""

import argparse
import signal
import subprocess
import sys
import time

import pytest

from launch import gcloud, source, watch
from launch.watcher import WatchOptions

PLACE = ("--zone=us-west4-a", "--bucket=gs://bkt", "--project=my-project",
         "--data=gs://data/tfds")
FAST = ("--interval=0.01", "--quota-wait=0.01", "--log-wait=0.2")
TRAINER = ("--", "--config=configs/vit.py:b16,cifar10")
V5E = ("--accelerator=v5litepod-16", *PLACE, *FAST)
FOLDER = "gs://bkt/vit-b16-cifar10"


@pytest.fixture(autouse=True)
def small_source(monkeypatch):
  # Packing the whole checkout is test_dry_run's subject, and takes its time.
  monkeypatch.setattr(source, "tracked", lambda: [source.STARTUP])


def start(cloud, *flags):
  return cloud.run("run.py", *flags, *TRAINER)


def test_waits_runs_finishes_and_deletes(cloud):
  cloud.play(workers=4, lives=[[
      "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE", "+DONE"]])
  done = start(cloud, *V5E)
  assert done.returncode == 0, done.stderr
  for state in ("WAITING", "PROVISIONING", "ACTIVE", "DONE"):
    assert state in done.stderr
  assert len(cloud.calls("queued-resources", "create")) == 1
  assert len(cloud.calls("queued-resources", "delete")) == 1
  sent = cloud.bucket / "bkt" / "vit-b16-cifar10" / "job"
  assert {p.name for p in sent.iterdir()} == {
      "source.tar.gz", "commit", "args", "env", "constraints.txt", "job.json",
      "SHA256SUMS"}
  assert (sent / "args").read_text() == "--config=configs/vit.py:b16,cifar10\n"
  # All four workers had sent their logs, so nothing was waited for.
  assert "sent their last log" not in done.stderr


def test_deletes_only_after_all_logs_or_a_while(cloud):
  cloud.play(workers=3, lives=[["+DONE"]])
  done = start(cloud, *V5E)
  assert done.returncode == 0
  assert "only 3 of 4 workers sent their last log" in done.stderr
  calls = cloud.calls()
  logs = [i for i, c in enumerate(calls) if f"{FOLDER}/logs/*/done" in c]
  deletion = [i for i, c in enumerate(calls) if "delete" in c]
  assert len(logs) > 1 and max(logs) < min(deletion)


def test_preempted_twice_is_recreated_twice(cloud):
  lost = ["ACTIVE", "SUSPENDING", "SUSPENDED"]
  cloud.play(workers=4, lives=[lost, lost, ["ACTIVE", "+DONE"]])
  done = start(cloud, *V5E)
  assert done.returncode == 0, done.stderr
  verbs = [c[3] for c in cloud.calls("queued-resources")
           if c[3] in ("create", "delete")]
  assert verbs == ["create", "delete"] * 3
  first, second, third = cloud.calls("queued-resources", "create")
  assert first == second == third
  assert "number 2" in done.stderr


@pytest.mark.parametrize("phase", [
    ["WAITING_FOR_RESOURCES"], ["CREATING"], ["PROVISIONING"], ["ACTIVE"],
    ["ACTIVE", "SUSPENDING"], []])
def test_capacity_that_is_lost_in_any_phase_is_asked_for_again(cloud, phase):
  cloud.play(workers=4, lives=[[*phase, "SUSPENDED"], ["ACTIVE", "+DONE"]])
  done = start(cloud, *V5E)
  assert done.returncode == 0, done.stderr
  assert len(cloud.calls("queued-resources", "create")) == 2
  assert len(cloud.calls("queued-resources", "delete")) == 2


@pytest.mark.parametrize("when", ["quota", "failed", "preempted"])
def test_troubles_that_follow_each_other(cloud, when):
  lives = [["PROVISIONING", "FAILED"], ["ACTIVE", "SUSPENDED"],
           ["ACTIVE", "!UNAVAILABLE: Connection reset", "+DONE"]]
  order = {"quota": [QUOTA, "ok", QUOTA, "ok", QUOTA, "ok"],
           "failed": ["ok", QUOTA, "ok", "ok"], "preempted": ["ok"] * 3}[when]
  cloud.play(workers=4, create=order, lives=lives)
  done = start(cloud, *V5E)
  assert done.returncode == 0, done.stderr
  assert cloud.fake.life == 2


def test_a_request_that_fails_is_reported_and_repeated(cloud):
  cloud.play(workers=4, lives=[["PROVISIONING", "FAILED"], ["+DONE"]])
  done = start(cloud, *V5E)
  assert done.returncode == 0, done.stderr
  assert "no capacity, says the fake" in done.stderr
  assert len(cloud.calls("queued-resources", "create")) == 2


def test_a_request_that_always_fails_ends_with_its_reason(cloud):
  cloud.play(lives=[["FAILED"]] * 9)
  done = start(cloud, *V5E, "--max-failures=2")
  assert done.returncode == 1
  assert "failed 3 times" in done.stderr.splitlines()[-1]
  assert "no capacity, says the fake" in done.stderr.splitlines()[-1]
  assert len(cloud.calls("queued-resources", "create")) == 3
  assert len(cloud.calls("queued-resources", "delete")) == 3


QUOTA = ("RESOURCE_EXHAUSTED: Quota limit "
         "'TPUV5sPreemptibleLitepodPerProjectPerZoneForTPUAPI' has been "
         "exceeded. Limit: 0 in zone us-west4-a.")


def test_quota_is_tried_again(cloud):
  cloud.play(workers=4, create=[QUOTA, QUOTA, "ok"], lives=[["+DONE"]])
  done = start(cloud, *V5E)
  assert done.returncode == 0, done.stderr
  assert len(cloud.calls("queued-resources", "create")) == 3
  assert "trying again" in done.stderr


def test_no_quota_at_all_ends_with_what_to_do(cloud):
  cloud.play(create=[QUOTA] * 9, lives=[["ACTIVE"]])
  done = start(cloud, *V5E, "--quota-tries=3")
  assert done.returncode == 1
  last = done.stderr.splitlines()[-1]
  for word in ("no quota after 3 tries", "TPUV5sPreemptible", "Quotas",
               "spot v5e in us-west4-a", "--zone, --tier"):
    assert word in last
  assert len(cloud.calls("queued-resources", "create")) == 3


@pytest.mark.parametrize("error", [
    "INVALID_ARGUMENT: Accelerator type v5litepod-16 not available in zone",
    "NOT_FOUND: Reservation not found",
    "PERMISSION_DENIED: The caller does not have permission"])
def test_a_refused_request_is_not_repeated(cloud, error):
  cloud.play(create=[error] * 3, lives=[["ACTIVE"]])
  done = start(cloud, *V5E)
  assert done.returncode == 1
  assert error.partition(": ")[2] in done.stderr.splitlines()[-1]
  assert len(cloud.calls("queued-resources", "create")) == 1


def test_short_outages_are_survived_and_long_ones_reported(cloud):
  outage = ["!UNAVAILABLE: Connection reset"]
  cloud.play(workers=4, lives=[["ACTIVE", *outage * 3, "+DONE"]])
  assert start(cloud, *V5E).returncode == 0


def test_long_outages_end_the_watching_not_the_job(cloud):
  cloud.play(lives=[["ACTIVE", "!UNAVAILABLE: Connection reset"]])
  done = start(cloud, *V5E)
  assert done.returncode == 75  # not 1: that is the job's failure
  assert "may still be running" in done.stderr
  assert not cloud.calls("queued-resources", "delete")


def test_a_failed_trainer_is_shown_and_its_slices_deleted(cloud):
  cloud.play(lives=[["ACTIVE", "+FAILED"]] * 2)
  done = start(cloud, *V5E)
  assert done.returncode == 1
  assert "said the fake" in done.stderr
  assert len(cloud.calls("queued-resources", "delete")) == 1
  # The same command again starts afresh: the marker is removed.
  cloud.play(workers=4, lives=[["ACTIVE", "+FAILED"], ["ACTIVE", "+DONE"]])
  assert start(cloud, *V5E).returncode == 1  # it is still being deleted
  assert start(cloud, *V5E).returncode == 0


def test_keep_leaves_the_slices_of_a_failed_trainer(cloud):
  cloud.play(lives=[["+FAILED"]])
  done = start(cloud, *V5E, "--keep")
  assert done.returncode == 1
  assert not cloud.calls("queued-resources", "delete")
  assert f"launch/watch.py {FOLDER} --delete" in done.stderr


def test_the_same_command_again_resumes_watching(cloud):
  cloud.play(workers=4, lives=[["ACTIVE", "ACTIVE", "+DONE"]])
  assert start(cloud, *V5E, "--no-watch").returncode == 0
  again = start(cloud, *V5E)
  assert again.returncode == 0, again.stderr
  assert "nothing is sent" in again.stderr
  assert len(cloud.calls("queued-resources", "create")) == 1
  assert len(cloud.calls("storage", "cp")) == 1
  finished = start(cloud, *V5E)
  assert finished.returncode == 0 and "done already" in finished.stderr
  assert len(cloud.calls("queued-resources", "create")) == 1


def test_another_job_under_the_same_name_is_refused(cloud):
  cloud.play(workers=4, lives=[["+DONE"]])
  start(cloud, *V5E, "--name=x")
  other = cloud.run("run.py", *V5E, "--name=x", "--",
                    "--config=configs/vit.py:l16,cifar10")
  assert other.returncode == 2
  assert "another job's" in other.stderr and "--name" in other.stderr


def test_another_slice_goes_on_with_one_command(cloud):
  cloud.play(workers=2, lives=[["ACTIVE"], ["ACTIVE", "+DONE"]])
  assert start(cloud, *V5E, "--no-watch").returncode == 0
  moved = start(cloud, "--accelerator=v6e-8", *V5E[1:], "--replace")
  assert moved.returncode == 0, moved.stderr
  verbs = [c[3] for c in cloud.calls("queued-resources")
           if c[3] in ("create", "delete")]
  assert verbs == ["create", "delete", "create", "delete"]
  first, second = cloud.calls("queued-resources", "create")
  assert "--accelerator-type=v5litepod-16" in first
  assert "--accelerator-type=v6e-8" in second
  # A watcher elsewhere now recreates the new slice.
  assert '"accelerator": "v6e-8"' in (
      cloud.bucket / "bkt/vit-b16-cifar10/job/job.json").read_text()


def test_watch_goes_on_from_the_bucket_alone_and_deletes(
    cloud, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  cloud.play(workers=4, lives=[["SUSPENDED"], ["ACTIVE", "+DONE"]])
  assert start(cloud, *V5E, "--no-watch").returncode == 0
  done = cloud.run("watch.py", FOLDER, *FAST)
  assert done.returncode == 0, done.stderr
  assert len(cloud.calls("queued-resources", "create")) == 2
  deleted = cloud.run("watch.py", FOLDER + "/", "--delete")
  assert deleted.returncode == 0
  assert (cloud.bucket / "bkt" / "vit-b16-cifar10" / "DONE").exists()
  unknown = cloud.run("watch.py", "gs://bkt/unknown")
  assert unknown.returncode == 2 and "job.json is not there" in unknown.stderr


def test_ctrl_c_leaves_the_job_and_prints_how_to_watch_it_again(cloud):
  cloud.play(lives=[["ACTIVE"]])
  process = subprocess.Popen(
      [sys.executable, "launch/run.py", *V5E, *TRAINER], env=cloud.env,
      stderr=subprocess.PIPE, text=True)
  deadline = time.monotonic() + 20
  while time.monotonic() < deadline:
    if "ACTIVE" in process.stderr.readline():
      break
  process.send_signal(signal.SIGINT)
  rest = process.communicate(timeout=20)[1]
  assert process.returncode == 130
  assert f"launch/watch.py {FOLDER}\n" in rest
  assert f"launch/watch.py {FOLDER} --delete" in rest
  assert not cloud.calls("queued-resources", "delete")


def test_gcloud_errors_are_told_apart():
  for error, kind in {
      QUOTA: "quota",
      "Quota 'PREEMPTIBLE_TPU_V6E' exceeded. Limit: 0.0": "quota",
      "NOT_FOUND: Resource 'x' was not found": "missing",
      "One or more URLs matched no objects.": "missing",
      "ALREADY_EXISTS: x": "exists",
      "PERMISSION_DENIED: x": "denied",
      "a@b.c does not have storage.objects.list access to b": "denied",
      "Reauthentication failed. gcloud auth login": "denied",
      "INTERNAL: try later": "transient",
      "something new": "other"}.items():
    assert gcloud.kind_of(error) == kind, error


def test_missing_gcloud_is_reported(cloud, monkeypatch):
  monkeypatch.setenv("PATH", "/nonexistent")
  done = start(cloud, *V5E)
  assert done.returncode == 1
  assert "gcloud is not on the PATH" in done.stderr


def test_every_option_has_a_flag():
  parser = argparse.ArgumentParser()
  watch.add_flags(parser)
  assert watch.read_options(parser.parse_args([])) == WatchOptions()
  given = parser.parse_args(["--keep", "--interval=2", "--max-failures=1"])
  assert watch.read_options(given) == WatchOptions(
      keep=True, interval=2.0, max_failures=1)

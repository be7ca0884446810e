"""The watcher on Compute Engine: groups of machines instead of requests."""

import pytest

from launch import source

FLAGS = ("--accelerator=v6e-16", "--backend=compute-engine",
         "--zone=us-west4-a", "--bucket=gs://bkt", "--project=my-project",
         "--data=gs://data/tfds", "--interval=0.01", "--quota-wait=0.01",
         "--log-wait=0.2")


@pytest.fixture(autouse=True)
def small_source(monkeypatch):
  monkeypatch.setattr(source, "tracked", lambda: [source.STARTUP])


def start(cloud, *flags):
  return cloud.run("run.py", *FLAGS, *flags, "--",
                   "--config=configs/vit.py:b16,cifar10")


def test_recreates_the_group_only(cloud):
  cloud.play(workers=4, lives=[
      [",,,", "STAGING,RUNNING,,", "RUNNING,RUNNING,RUNNING,RUNNING",
       "RUNNING,STOPPING,RUNNING,RUNNING", "RUNNING,TERMINATED,RUNNING"],
      ["RUNNING,RUNNING,RUNNING,RUNNING", "+DONE"]])
  done = start(cloud)
  assert done.returncode == 0, done.stderr
  for state in ("WAITING", "PROVISIONING", "ACTIVE", "STOPPING", "PREEMPTED"):
    assert state in done.stderr
  assert len(cloud.calls("instance-groups", "create")) == 2
  assert len(cloud.calls("instance-groups", "delete")) == 2
  for kind in ("instance-templates", "resource-policies"):
    assert len(cloud.calls(kind, "delete")) == 1
    assert cloud.calls(kind, "delete")[0] in cloud.calls()[-3:]


def test_quota_ends_with_what_to_do(cloud):
  cloud.play(lives=[[",:QUOTA_EXCEEDED,,"]])
  done = start(cloud, "--quota-tries=2")
  assert done.returncode == 1
  assert "no quota after 2 tries" in done.stderr
  assert "QUOTA_EXCEEDED" in done.stderr
  assert cloud.calls("instance-groups", "delete")


def test_on_demand_may_restart_by_itself(cloud):
  down = "TERMINATED,RUNNING,RUNNING,RUNNING"
  cloud.play(workers=4, lives=[["ACTIVE", down, down, "+DONE"]])
  done = start(cloud, "--tier=on-demand")
  assert done.returncode == 0, done.stderr
  assert len(cloud.calls("instance-groups", "create")) == 1


def test_spot_does_not_restart(cloud):
  down = "TERMINATED,RUNNING,RUNNING,RUNNING"
  cloud.play(workers=4, lives=[["ACTIVE", down, down], ["+DONE"]])
  assert start(cloud).returncode == 0
  assert len(cloud.calls("instance-groups", "create")) == 2

"""The data come to the machines: checked, resumed, refused on the laptop."""

import json

import pytest

from launch import data, source
from launch import job as job_lib

PLACE = ("--accelerator=v5litepod-16", "--zone=us-west4-a",
         "--bucket=gs://bkt", "--project=my-project")
CONFIG = "--config=configs/vit.py:b16,imagenet2012"
BYTES = 100 + 101 + 102


@pytest.fixture(autouse=True)
def small_source(monkeypatch):
  monkeypatch.setattr(source, "tracked", lambda: [source.STARTUP])


def with_data(machine, how):
  machine.set(DATA="gs://data/tfds", DATA_ON=how, DATA_FILES="3",
              DATA_BYTES=str(BYTES))


def arrived(machine):
  folder = machine.root / "mnt/vit-data"
  return {p.name: p.stat().st_size for p in folder.rglob("*") if p.is_file()}


SENT = {f"train.array_record-{i:05}-of-00003": 100 + i for i in range(3)}


@pytest.mark.parametrize("how", ["disk", "ram"])
def test_data_are_copied_once_and_the_trainer_is_told(machine, how):
  with_data(machine, how)
  machine.run()
  assert arrived(machine) == SENT
  assert machine.called("systemctl start --no-block", "vit-train")
  mounted, = machine.called("mount")
  assert mounted.endswith(f"{machine.root}/mnt/vit-data")
  assert (how == "ram") == ("tmpfs" in mounted)
  assert len(machine.called("mkfs.ext4")) == (how == "disk")
  machine.cloud.tool("trainer", "")
  python = machine.root / "opt/vit/venv/bin/python"
  python.write_text("#!/bin/bash\necho \"at $TFDS_DATA_DIR\"\n")
  assert machine.run("train").stdout == f"at {machine.root}/mnt/vit-data\n"
  # Another boot: nothing is copied again, nor formatted.
  copied = list(machine.cloud.fake.copied)
  machine.run()
  assert machine.cloud.fake.copied == copied
  assert len(machine.called("mkfs.ext4")) == (how == "disk")


def test_after_a_reboot_a_disk_keeps_its_data(machine):
  with_data(machine, "disk")
  machine.run()
  machine.mounts.write_text("")
  machine.run()
  assert len(machine.called("mkfs.ext4")) == 1
  assert len(machine.called("mount -o")) == 2
  assert len(machine.cloud.fake.copied) == 3


def test_a_copy_that_breaks_off_goes_on(machine):
  with_data(machine, "ram")
  machine.cloud.play(torn=2)  # the first fails, the second only seems to work
  machine.run(code=1)
  assert "expected 3 files" in machine.sent("FAILED")
  assert not machine.called("systemctl start")
  assert len(arrived(machine)) == 2
  machine.run()
  assert arrived(machine) == SENT
  # No file was copied twice.
  assert sorted(machine.cloud.fake.copied) == sorted(SENT)


def test_data_that_changed_since_are_refused(machine):
  with_data(machine, "ram")
  (machine.cloud.data / "train.array_record-00000-of-00003").write_text("")
  machine.run(code=1)
  assert "expected 3 files and 303 bytes" in machine.sent("FAILED")
  assert not machine.called("systemctl start")


def test_data_that_do_not_fit_in_memory_are_refused(machine):
  with_data(machine, "ram")
  machine.set(DATA_BYTES=str(160 * 10**9))
  machine.run(code=1)
  assert "use --data-on=mount" in machine.sent("FAILED")
  assert not machine.called("mount -t")


def test_a_machine_without_its_disk_says_so(machine):
  with_data(machine, "disk")
  machine.device.unlink()
  machine.run(code=1)
  assert "no data disk" in machine.sent("FAILED")


def test_gcsfuse_mounts_the_folder_for_reading(machine):
  with_data(machine, "mount")
  machine.run()
  call, = machine.called("gcsfuse -o")
  words = call.split()
  assert words[-2:] == ["data", f"{machine.root}/mnt/vit-data"]
  for word in ("ro", "--only-dir=tfds", "--file-cache-max-size-mb=92160"):
    assert word in words
  assert machine.called("systemctl start --no-block", "vit-train")
  machine.run()
  assert len(machine.called("gcsfuse -o")) == 1


def test_no_data_is_refused_on_the_laptop_with_what_to_do(cloud):
  done = cloud.run("run.py", *PLACE, "--", CONFIG)
  assert done.returncode == 2 and done.stderr.count("\n") == 1
  for words in ("add --data=gs://", "vit_jax prepare", "--data=none"):
    assert words in done.stderr
  assert not cloud.calls()


@pytest.mark.parametrize("config", [
    ("--config=configs/quickstart.py",),
    ("--config=configs/heads.py:0,digits",),
    (CONFIG, "--config.data.source=digits"),
    (CONFIG, "--config.data.data_dir=gs://b/data")])
def test_what_brings_its_own_data_needs_none(cloud, config):
  cloud.play(lives=[["ACTIVE"]])
  done = cloud.run("run.py", *PLACE, "--no-watch", "--", *config)
  assert done.returncode == 0, done.stderr
  assert ("request of its own" in done.stderr) == (
      "gs://b/data" in config[-1])


def test_the_launcher_counts_the_data(cloud):
  cloud.play(lives=[["ACTIVE"]])
  done = cloud.run("run.py", *PLACE, "--no-watch", "--data=gs://data/tfds/",
                   "--", CONFIG)
  assert done.returncode == 0, done.stderr
  assert "gs://data/tfds (3 files" in done.stderr
  sent = cloud.bucket / "bkt/vit-b16-imagenet2012/job"
  env = (sent / "env").read_text().splitlines()
  assert set(env) >= {"VIT_DATA=gs://data/tfds", "VIT_DATA_ON=ram",
                      "VIT_DATA_FILES=3", f"VIT_DATA_BYTES={BYTES}"}
  assert json.loads((sent / "job.json").read_text())["data_bytes"] == BYTES


@pytest.mark.parametrize("flags,words", [
    (["--data=gs://data/nothing"], "no files there"),
    (["--data=/home/me/data"], "expected gs://BUCKET/FOLDER"),
    (["--data=gs://data/tfds", "--data-on=disk"], "compute-engine"),
    (["--data=none", "--data-on=ram"], "need --data=gs://")])
def test_wrong_data_flags_are_named(cloud, flags, words):
  done = cloud.run("run.py", *PLACE, *flags, "--", CONFIG)
  assert done.returncode == 2 and words in done.stderr
  assert not cloud.calls("create")


def test_the_way_follows_machine_and_size():
  def job(**fields):
    return job_lib.Job(**dict(
        name="x", accelerator="v5litepod-16", bucket="gs://bkt", zone="z",
        args=(CONFIG,), data="gs://data/tfds") | fields)

  big = dict(data_files=1, data_bytes=161 * 10**9)
  assert data.way(job()) == "ram"
  assert data.way(job(**big)) == "mount"  # of 192 GB the trainer needs 32
  assert data.way(job(**big, accelerator="v6e-16")) == "ram"
  engine = job(**big, accelerator="v6e-16", backend="compute-engine")
  assert data.way(engine) == "disk"
  assert data.disk_gb(engine) == 188
  assert data.disk_flags(engine, "hyperdisk-balanced") == [
      "--create-disk=device-name=vit-data,size=188GB,auto-delete=yes,"
      "type=hyperdisk-balanced"]
  assert data.disk_flags(job(), "") == []

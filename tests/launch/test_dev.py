"""The development path: every worker, its own log, all or none."""

import signal
import subprocess
import sys
import time

import pytest

from launch import dev, source

PLACE = ("--name=node", "--zone=us-west4-a", "--project=my-project")
TRAINER = ("--", "--config=configs/vit.py:b16,cifar10",
           "--workdir=gs://bkt/try")
V5E = ("--accelerator=v5litepod-16", *PLACE)


def test_copies_installs_and_trains_on_every_worker(cloud, tmp_path):
  done = cloud.run("dev.py", *V5E, f"--logs={tmp_path}", *TRAINER)
  assert done.returncode == 0, done.stderr
  calls = cloud.calls("tpu-vm")
  assert [c[3] for c in calls] == ["scp"] * 4 + ["ssh"] * 8
  for step in (calls[:4], calls[4:8], calls[8:]):
    workers = sorted(a for c in step for a in c if "--worker=" in a)
    assert workers == [f"--worker={w}" for w in range(4)]
  assert all(dev.train_command(TRAINER[1:]) in " ".join(c)
             for c in calls[8:])
  assert len(list((tmp_path / "node").glob("worker_*.log"))) == 4
  assert "--command=cd ~/vit_dev/src" in done.stdout  # worker 0 is shown


@pytest.mark.parametrize("text", ["uv pip install", "vit_jax.main"])
def test_one_failing_worker_stops_all(cloud, tmp_path, text):
  cloud.play(broken=("2", text))
  done = cloud.run("dev.py", *V5E, f"--logs={tmp_path}", *TRAINER)
  assert done.returncode == 1
  assert "failed on worker 2 (exit 1)" in done.stderr
  assert "remote command failed" in done.stderr
  stops = [c for c in cloud.calls("tpu-vm") if "fuser -k" in " ".join(c)]
  assert len(stops) == 4


def test_compute_engine_machines_by_name(cloud, tmp_path):
  done = cloud.run("dev.py", "--accelerator=tpu7x-16", *PLACE,
                   f"--logs={tmp_path}", *TRAINER)
  assert done.returncode == 0, done.stderr
  assert len(cloud.calls("ssh", "m-0")) == len(cloud.calls("ssh", "m-1")) == 2
  assert (tmp_path / "node" / "worker_m-1.log").exists()


def test_dry_run_prints_and_calls_nothing(cloud):
  done = cloud.run("dev.py", *V5E, "--dry-run", *TRAINER)
  assert done.returncode == 0 and not cloud.calls()
  for step, verb in (("copy", "scp"), ("install", "ssh"), ("train", "ssh")):
    part = done.stdout.partition(f"# {step}\n")[2].partition("# ")[0]
    assert part.count(f"tpu-vm {verb}") == 4


def test_the_trainer_needs_a_working_directory(cloud):
  done = cloud.run("dev.py", *V5E, "--", "--config=c")
  assert done.returncode == 2 and "--workdir" in done.stderr


def test_ctrl_c_stops_all_workers(cloud, tmp_path):
  cloud.tool("gcloud", '#!/bin/bash\necho "$*" >> "$0.log"\n'
             'case "$*" in *vit_dev/src*) echo training; exec sleep 60;; '
             'esac\n')
  process = subprocess.Popen(
      [sys.executable, str(source.ROOT / "launch" / "dev.py"), *V5E,
       f"--logs={tmp_path}", *TRAINER], env=cloud.env, cwd=source.ROOT,
      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
  assert process.stdout.readline() == "training\n"
  time.sleep(0.1)
  process.send_signal(signal.SIGINT)
  process.communicate(timeout=20)
  assert process.returncode == 130
  assert (cloud.bin / "gcloud.log").read_text().count("fuser -k") == 4


def test_the_install_line_is_a_shell_line():
  for line in (dev.INSTALL, dev.STOP, dev.train_command(["--a=b c"])):
    assert subprocess.run(["bash", "-n", "-c", line]).returncode == 0


def test_install_runs_once_per_version(cloud, tmp_path):
  # The remote line itself, in a home folder with a stand-in uv.
  cloud.tool("uv", '#!/bin/bash\necho "$*" >> "$HOME/uv.log"\n')
  tarball = tmp_path / "vit_dev.tar.gz"
  (tmp_path / "setup.py").write_text("one")
  (tmp_path / "launch").mkdir()
  (tmp_path / "launch" / "constraints.txt").write_text("")
  line = dev.INSTALL
  counts = []
  for text in ("one", "one", "two"):
    (tmp_path / "setup.py").write_text(text)
    subprocess.run(["tar", "-czf", str(tarball), "setup.py", "launch"],
                   cwd=tmp_path, check=True)
    subprocess.run(["bash", "-c", line], check=True, capture_output=True,
                   env=cloud.env | {"HOME": str(tmp_path)})
    counts.append(len((tmp_path / "uv.log").read_text().splitlines()))
  assert counts == [2, 2, 4]
  assert (tmp_path / "vit_dev" / "src" / "setup.py").read_text() == "two"

"""What --dry-run prints is fixed per generation, and can be pasted.

After a change on purpose: UPDATE_GOLDEN=1 pytest tests/launch/test_dry_run.py
"""

import os
import pathlib
import shutil
import subprocess
import tarfile

import pytest

from launch import job as job_lib
from launch import source

GOLDEN = pathlib.Path(__file__).parent / "golden"
PLACE = ("--zone=us-west4-a", "--bucket=gs://my-bucket",
         "--project=my-project")
DATA = "--data=gs://data/tfds"
TRAINER = ("--", "--config=configs/vit.py:l16,imagenet2012",
           "--config.train.report=L/16's first")
CASES = {
    "v2": ["--accelerator=v2-8", "--tier=on-demand", "--data=none"],
    "v3": ["--accelerator=v3-512", "--tier=reserved", DATA],
    "v4": ["--accelerator=v4-256", "--name=pretrain-h14", DATA,
           "--data-on=mount", "--watch-vm", "--max-hours=24",
           "--service-account=me@my-project.iam.gserviceaccount.com"],
    "v5e": ["--accelerator=v5litepod-16", DATA],
    "v5e_two_slices": ["--accelerator=v5litepod-256", "--slices=2", DATA,
                       "--valid-until=6h", "--network=net",
                       "--subnetwork=sub", "--internal-ips"],
    "v5p": ["--accelerator=v5p-128", "--tier=guaranteed", DATA,
            "--valid-until=2030-01-01T00:00:00Z"],
    "v5p_compute_engine": ["--accelerator=v5p-128", "--disk=300GB", DATA,
                           "--backend=compute-engine", "--tier=on-demand"],
    "v6e": ["--accelerator=v6e-64", "--env=TFDS_DATA_DIR=gs://data/tfds",
            "--runtime=v2-alpha-tpuv6e-next"],
    "v6e_compute_engine": ["--accelerator=v6e-8", "--internal-ips", DATA,
                           "--data-gb=160",
                           "--backend=compute-engine",
                           "--image-family=mine"],
    "7x": ["--accelerator=tpu7x-16", "--tier=reserved", "--reservation=ours",
           DATA],
}


def dry_run(cloud, *flags):
  done = cloud.run("run.py", *flags, *PLACE, "--dry-run", *TRAINER)
  assert done.returncode == 0, done.stderr
  assert not cloud.calls()
  return done.stdout


@pytest.mark.parametrize("name", CASES)
def test_golden(cloud, name):
  text = dry_run(cloud, *CASES[name])
  path = GOLDEN / f"{name}.txt"
  if os.environ.get("UPDATE_GOLDEN"):
    path.write_text(text)
  assert text == path.read_text()


def test_every_generation_has_a_golden():
  from launch import accelerators
  from vit_jax.devices.chips import TPUS
  covered = {accelerators.parse(flags[0].partition("=")[2]).generation.name
             for flags in CASES.values()}
  assert covered == {g.name for g in TPUS}


def test_the_printed_commands_do_what_the_launcher_does(cloud, tmp_path):
  # Without data: their counts are in the launcher's files alone.
  flags = (CASES["v5e"][0], "--data=none")
  text = dry_run(cloud, *flags)
  staging = tmp_path / "vit_launch"
  text = text.replace("runs/launch", str(staging))
  cloud.play(lives=[["ACTIVE"]])
  done = subprocess.run(["bash", "-euo", "pipefail", "-c", text],
                        cwd=source.ROOT, env=dict(os.environ),
                        capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  pasted = cloud.calls("create")
  sent = cloud.bucket / "my-bucket" / "vit-l16-imagenet2012" / "job"
  by_hand = {p.name: p.read_bytes() for p in sent.iterdir()}
  with tarfile.open(sent / "source.tar.gz") as tar:
    names = sorted(tar.getnames())
  shutil.rmtree(cloud.bucket / "my-bucket")
  cloud.fake.state = "missing"
  job = cloud.run("run.py", *flags, *PLACE, "--no-watch", *TRAINER)
  assert job.returncode == 0, job.stderr
  by_launcher = {p.name: p.read_bytes() for p in sent.iterdir()}
  assert set(by_hand) == set(by_launcher) == set(source.FILES)
  for name in set(by_hand) - {"source.tar.gz", "commit", "SHA256SUMS"}:
    assert by_hand[name] == by_launcher[name], name
  with tarfile.open(sent / "source.tar.gz") as tar:
    assert sorted(tar.getnames()) == names
    member = tar.extractfile("launch/startup.sh")
    assert member.read() == (source.ROOT / source.STARTUP).read_bytes()
  assert not any(name.startswith("tests/") for name in names)
  relative = [a.replace(f"{source.ROOT}/", "") for a in
              cloud.calls("create")[-1]]
  assert relative == pasted[0]


def test_arguments_survive_the_bucket(cloud):
  cloud.play(lives=[["ACTIVE"]])
  hard = "--config.data.data_dir=a 'b' \"c\" $d, e=f"
  done = cloud.run("run.py", *CASES["v5e"], *PLACE, "--no-watch",
                   f"--env=X={hard}", *TRAINER, hard)
  assert done.returncode == 0
  sent = cloud.bucket / "my-bucket" / "vit-l16-imagenet2012" / "job"
  assert (sent / "args").read_text().splitlines() == [*TRAINER[1:], hard]
  assert f"X={hard}" in (sent / "env").read_text().splitlines()
  job = job_lib.from_json((sent / "job.json").read_text())
  assert job.args == (*TRAINER[1:], hard) and job.env == (f"X={hard}",)


@pytest.mark.parametrize("flags,words", [
    (["--accelerator=v3-9"], "no such slice"),
    (["--accelerator=v3-8", "--name=Bad_Name"], "--name=Bad_Name"),
    (["--accelerator=v3-8", "--zone=us-west4"], "--zone=us-west4"),
    (["--accelerator=v3-8", "--bucket=my-bucket"], "--bucket=my-bucket"),
    (["--accelerator=v3-8", "--slices=0"], "--slices=0"),
    (["--accelerator=v3-8", "--env=X"], "--env=X"),
    (["--accelerator=v3-8", "--max-hours=-1"], "--max-hours=-1"),
    (["--accelerator=v3-8", "--backend=compute-engine"], "queued-resources"),
    (["--accelerator=tpu7x-8", "--backend=queued-resources"],
     "compute-engine"),
    (["--accelerator=tpu7x-8", "--slices=2"], "launch/gke"),
    (["--accelerator=tpu7x-8", "--tier=reserved"], "--reservation"),
    (["--accelerator=tpu7x-8", "--tier=guaranteed"], "queued-resources"),
    (["--accelerator=tpu7x-8", "--project="], "needs --project"),
])
def test_wrong_flags_are_named(cloud, flags, words):
  done = cloud.run("run.py", *PLACE, DATA, *flags, "--dry-run", *TRAINER)
  assert done.returncode == 2
  assert words in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("trainer,words", [
    ((), "after `--`"), (("--", "--workdir=x", "--config=c"), "--workdir"),
    (("--", "--config=a\nb", "--"), "line break")])
def test_wrong_trainer_arguments_are_named(cloud, trainer, words):
  done = cloud.run("run.py", "--accelerator=v3-8", "--name=x", *PLACE, DATA,
                   "--dry-run", *trainer)
  assert done.returncode == 2 and words in done.stderr


def test_names_come_from_the_config():
  for config, name in {
      "configs/vit.py:l16,imagenet2012": "vit-l16-imagenet2012",
      "configs/augreg.py:R_Ti_16": "augreg-r-ti-16",
      "my/pretrain.py": "pretrain"}.items():
    assert job_lib.default_name((f"--config={config}",)) == name

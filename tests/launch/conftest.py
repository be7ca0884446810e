"""A stand-in cloud: a fake gcloud on the PATH and a folder as the bucket."""

import contextlib
import io
import os
import pathlib
import sys
import types

import pytest

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
for folder in (ROOT, HERE):
  if str(folder) not in sys.path:
    sys.path.insert(0, str(folder))

import fake_cloud  # noqa: E402
import fake_machine  # noqa: E402

from launch import dev, run, source, status, watch  # noqa: E402
from launch import job as job_lib  # noqa: E402

PROGRAMS = {"run.py": run.main, "watch.py": watch.main, "dev.py": dev.main,
            "status.py": status.main}


class Cloud:
  """Plays scripts to the launcher and tells what it asked for."""

  def __init__(self, folder: pathlib.Path, monkeypatch):
    self.bucket = folder / "bucket"
    self.bin = folder / "bin"
    self.bucket.mkdir(parents=True)
    self.bin.mkdir()
    self.data = self.bucket / "data" / "tfds" / "imagenet2012" / "5.1.0"
    self.data.mkdir(parents=True)
    for i in range(3):
      (self.data / f"train.array_record-{i:05}-of-00003").write_text(
          "x" * (100 + i))
    self.fake = fake_cloud.FakeCloud(self.bucket)
    self.server = fake_cloud.serve(self.fake)
    self.tool("gcloud", fake_cloud.CLIENT.replace(
        "@PORT@", str(self.server.server_address[1])))
    self.env = {"PATH": f"{self.bin}:/usr/bin:/bin"}
    monkeypatch.setenv("PATH", f"{self.bin}:{os.environ['PATH']}")

  def tool(self, name: str, text: str) -> None:
    """Puts a program on the PATH."""
    (self.bin / name).write_text(text)
    (self.bin / name).chmod(0o755)

  def play(self, **script) -> None:
    self.fake.script = script

  def run(self, program: str, *args: str):
    """Runs a launcher's main in this process, as its command would."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      try:
        code = PROGRAMS[program](args)
      except SystemExit as stop:  # argparse
        code = stop.code
    return types.SimpleNamespace(returncode=code, stdout=out.getvalue(),
                                 stderr=err.getvalue())

  def calls(self, *words: str) -> list[list[str]]:
    """The calls that contain all the words, in order."""
    return [c for c in self.fake.calls if all(w in c for w in words)]


@pytest.fixture
def cloud(tmp_path, monkeypatch):
  made = Cloud(tmp_path / "cloud", monkeypatch)
  yield made
  made.server.shutdown()
  made.server.server_close()


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("inputs")
  source.stage(job_lib.Job(
      name="x", accelerator="v5litepod-16", bucket="gs://bkt",
      zone="us-west4-a", args=("--config=c d", "--x='$y'"),
      env=("X=a 'b' $c",), max_restarts=7), folder)
  return folder


@pytest.fixture
def machine(cloud, tmp_path, inputs) -> fake_machine.Machine:
  return fake_machine.Machine(cloud, tmp_path, inputs)

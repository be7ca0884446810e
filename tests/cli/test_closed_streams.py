"""Standard output and error that are closed, or of another encoding."""

import json
import os
import shutil
import subprocess
import sys

from PIL import Image
import pytest


def run(*words, close="", **environment):
  """Runs a verb; `close` is a redirection of the shell, such as 2>&-."""
  return subprocess.run(
      ["bash", "-c", f'"$0" -m vit_jax "$@" {close}', sys.executable, *words],
      capture_output=True, check=False, timeout=300,
      env={**os.environ, **environment})


@pytest.mark.parametrize("close", [
    ">&-", "2>&-", pytest.param("<&- >&- 2>&-", marks=pytest.mark.slow)])
def test_closed_streams(checkpoint, close):
  done = run("inspect", str(checkpoint), close=close)
  assert done.returncode == 0
  assert b"Traceback" not in done.stderr
  assert bool(done.stdout) == (close == "2>&-")
  done = run("inspect", f"{checkpoint}.no", close=close)
  assert done.returncode == 2 and not done.stdout


ASCII = {"PYTHONIOENCODING": "ascii"}
# The locale of a bare system, without Python's own remedies.
BARE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    "environment, shown",
    [(ASCII, "\\u65e5\\u672c \\xe9.png"),
     pytest.param(BARE, None, marks=pytest.mark.slow),
     pytest.param({"PYTHONUTF8": "1"}, "日本 é.png", marks=pytest.mark.slow)],
    ids=["ascii", "C", "utf-8"])
def test_any_name_in_any_encoding(checkpoint, tmp_path, environment, shown):
  Image.new("RGB", (8, 8)).save(tmp_path / "日本 é.png")
  done = run("predict", str(tmp_path), f"--checkpoint={checkpoint}",
             "--top_k=1", **environment)
  assert (done.returncode, done.stderr) == (0, b"")
  if shown:
    assert shown in done.stdout.decode()
  done = run("predict", str(tmp_path), f"--checkpoint={checkpoint}", "--json",
             **environment)
  assert done.returncode == 0
  [image] = json.loads(done.stdout.decode())["predictions"]
  if environment is not BARE:  # There Python has the bytes of the name only.
    assert image["file"].endswith("/日本 é.png")


def test_a_name_that_is_no_text(checkpoint, tmp_path):
  Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
  shutil.move(tmp_path / "a.png", os.fsencode(tmp_path) + b"/k\xe4se.png")
  for words, shown in (([], b"k\xe4se.png\n"), (["--json"], b"k\\udce4se.png")):
    done = run("predict", str(tmp_path), f"--checkpoint={checkpoint}", *words,
               PYTHONUTF8="1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert shown in done.stdout


@pytest.mark.parametrize("platform", [
    "cuda", *(pytest.param(name, marks=pytest.mark.slow)
              for name in ("tpu", "nothing"))])
def test_devices_that_are_not_there(checkpoint, tmp_path, platform):
  Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
  for words in (
      ("predict", f"{tmp_path}/a.png", f"--checkpoint={checkpoint}"),
      ("train", "--config=configs/quickstart.py", f"--workdir={tmp_path}/x")):
    done = run(*words, JAX_PLATFORMS=platform)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    lines = [line for line in done.stderr.decode().splitlines()
             if line.startswith("vit_jax: error: ")]
    assert len(lines) == 1, done.stderr
    assert f"(JAX_PLATFORMS='{platform}')" in lines[0]
    assert "JAX_PLATFORMS=cpu" in lines[0]

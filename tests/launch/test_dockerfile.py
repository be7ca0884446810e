"""The image of GKE: its context holds what its pip commands need."""

import pathlib
import shutil
import subprocess
import sys

from launch import source

DOCKERFILE = source.ROOT / "launch" / "gke" / "Dockerfile"


def instructions():
  """Returns the (instruction, words) of the Dockerfile, in order."""
  text = DOCKERFILE.read_text().replace("\\\n", " ")
  lines = [line for line in text.splitlines() if line and line[0] != "#"]
  return [(line.split()[0], line.split()[1:]) for line in lines]


def copy(words, folder):
  """Does what COPY SOURCE... TARGET does."""
  *sources, target = words
  for name in sources:
    path, place = source.ROOT / name, folder / target
    if path.is_dir():
      shutil.copytree(path, place, dirs_exist_ok=True)
    else:
      assert target.endswith("/"), "a file is copied into a folder"
      place.mkdir(parents=True, exist_ok=True)
      shutil.copy(path, place)


def test_every_pip_command_finds_its_files(tmp_path):
  commands = []
  for instruction, words in instructions():
    if instruction == "COPY":
      copy(words, tmp_path)
    if instruction == "RUN":
      commands.append(" ".join(words))
      for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE",
                   "configs/vit.py"):
        assert (tmp_path / name).is_file(), name
      version = subprocess.run(
          [sys.executable, "setup.py", "--version"], cwd=tmp_path, check=True,
          capture_output=True, text=True).stdout.split()[-1]
      assert version == _version()
  first, second = commands
  assert "--constraint launch/constraints.txt '.[tpu]'" in first
  assert (tmp_path / "launch/constraints.txt").is_file()
  assert "--no-deps ." in second
  assert (tmp_path / "vit_jax/main.py").is_file()


def _version():
  text = pathlib.Path(source.ROOT, "vit_jax/__init__.py").read_text()
  return text.partition('__version__ = "')[2].partition('"')[0]


def test_the_entry_is_the_trainer():
  assert instructions()[-1] == (
      "ENTRYPOINT", ['["python",', '"-m",', '"vit_jax.main"]'])

"""Installed without a clone, the package is whole and finds its recipes."""

import ast
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# Distributions whose modules are called otherwise.
MODULES = {
    "absl-py": "absl", "array-record": "array_record", "etils": "etils",
    "ml-collections": "ml_collections", "ml-dtypes": "ml_dtypes",
    "opencv-python-headless": "cv2", "orbax-checkpoint": "orbax",
    "pillow": "PIL", "scikit-learn": "sklearn",
    "tensorflow-datasets": "tensorflow_datasets",
}
# Needed by what we import, in a way that its own metadata does not say.
INDIRECT = {"array-record": "read by tensorflow_datasets.data_source",
    "flatbuffers": "read and written by jax.export"}


def setup_value(name):
  """Returns a literal of setup.py without running it."""
  tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
  for node in tree.body:
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
      return ast.literal_eval(node.value)
  raise AssertionError(f"setup.py has no {name}")


def requirement(text):
  """Splits "etils[epath]>=1.15.0" into ("etils", "1.15.0")."""
  match = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)", text)
  assert match, f"{text}: expected NAME>=VERSION"
  return match[1], match[2]


def imported_roots():
  """Returns the first names of all modules that vit_jax imports."""
  roots = set()
  for path in (ROOT / "vit_jax").rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
      if isinstance(node, ast.Import):
        roots |= {alias.name.split(".")[0] for alias in node.names}
      elif isinstance(node, ast.ImportFrom):
        roots.add(node.module.split(".")[0])
  return roots


def test_every_requirement_is_imported():
  roots = imported_roots()
  for text in setup_value("REQUIREMENTS"):
    name, _ = requirement(text)
    assert name in INDIRECT or MODULES.get(name, name) in roots, name


def test_every_import_is_required():
  names = [requirement(text)[0] for text in setup_value("REQUIREMENTS")]
  provided = {MODULES.get(name, name) for name in names} | {"jaxlib"}
  # Optional: imported where it is used, with a message that says so.
  optional = {"tensorflow", "gcsfs", "torch", "timm", "onnx",
              "huggingface_hub"}
  foreign = imported_roots() - set(sys.stdlib_module_names) - {"vit_jax"}
  assert foreign - provided - optional == set()


def test_lower_bounds_are_not_above_what_runs_here():
  for text in setup_value("REQUIREMENTS"):
    name, bound = requirement(text)
    here = importlib.metadata.version(name)

    def numbers(version):
      return [int(part) for part in re.findall(r"\d+", version)]

    assert numbers(here) >= numbers(bound), f"{name} {here} < {bound}"


def test_tensorflow_is_only_an_extra():
  extras = setup_value("EXTRAS")
  assert set(extras) >= {"test", "prepare", "tpu", "gpu", "oracle"}
  assert not any("tensorflow>" in text
                 for text in setup_value("REQUIREMENTS"))
  assert any(text.startswith("tensorflow>") for text in extras["prepare"])


def test_lower_bounds_are_printed_as_constraints():
  done = subprocess.run(
      [sys.executable, ROOT / ".github" / "lower_bounds.py"], check=True,
      capture_output=True, text=True)
  lines = done.stdout.splitlines()
  bounds = dict(map(requirement, setup_value("REQUIREMENTS")))
  assert f"jax=={bounds['jax']}" in lines and "[" in "".join(
      setup_value("REQUIREMENTS"))
  assert len(lines) == len(
      setup_value("REQUIREMENTS") + setup_value("EXTRAS")["test"])
  # pip refuses constraints with extras.
  assert all(re.fullmatch(r"[\w.-]+==[\d.]+", line) for line in lines)


def test_tools_are_pinned_and_pre_commit_runs_the_same_ruff_as_ci():
  pins = dict(text.split("==") for text in setup_value("EXTRAS")["dev"]
              if "==" in text)
  assert {"mypy", "ruff"} <= set(pins)
  hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
  revision = re.search(r"ruff-pre-commit\n\s+rev: v([\d.]+)", hooks)
  assert revision[1] == pins["ruff"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
  """Installs a wheel, built from a copy, into a folder without a clone."""
  pytest.importorskip("setuptools", minversion="77")
  folder = tmp_path_factory.mktemp("packaging")
  copy = folder / "source"
  copy.mkdir()
  for name in ("vit_jax", "configs"):
    shutil.copytree(ROOT / name, copy / name,
                    ignore=shutil.ignore_patterns("__pycache__"))
  for name in ("setup.py", "README.md"):
    if (ROOT / name).exists():
      shutil.copy(ROOT / name, copy / name)
  pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
  subprocess.run(
      [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation",
       "--no-index", "--wheel-dir", folder / "dist", copy], check=True)
  (wheel,) = (folder / "dist").glob("*.whl")
  subprocess.run(
      [*pip, "install", "--quiet", "--no-deps", "--no-index", "--target",
       folder / "site", wheel], check=True)
  return folder / "site"


def run(installed, folder, *args, code=0):
  """Runs python on the installed package from another folder."""
  env = os.environ | {"PYTHONPATH": str(installed),
                      "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
  done = subprocess.run(
      [sys.executable, *map(str, args)], cwd=folder, env=env,
      capture_output=True, text=True)
  assert done.returncode == code, done.stdout + done.stderr
  return done


def test_every_file_is_installed(installed):
  def listing(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts}

  missing = listing(ROOT / "vit_jax") - listing(installed / "vit_jax")
  assert not missing
  # Type checkers read the annotations of packages that have this file.
  assert (installed / "vit_jax" / "py.typed").exists()
  assert listing(ROOT / "configs") <= listing(installed / "vit_jax/configs")


def test_shipped_config_is_found_without_a_clone(installed, tmp_path):
  code = (
      "import vit_jax, sys; from vit_jax.config import find\n"
      f"assert vit_jax.__file__.startswith({str(installed)!r})\n"
      "path = find.find_config('configs/vit.py:b16,cifar10')\n"
      "assert path.endswith('vit_jax/configs/vit.py:b16,cifar10'), path\n"
      "print(find.shipped_configs())")
  done = run(installed, tmp_path, "-c", code)
  assert "configs/quickstart.py" in done.stdout


@pytest.mark.slow
def test_training_runs_from_the_wheel(installed, tmp_path):
  run(installed, tmp_path, "-m", "vit_jax.main",
      "--config=configs/quickstart.py", "--workdir=run",
      "--config.train.steps=2", "--config.optim.warmup_steps=1",
      "--config.model.depth=1", "--config.data.batch_size=16")
  assert (tmp_path / "run" / "model.npz").stat().st_size
  assert (tmp_path / "run" / "report.html").stat().st_size


def test_unknown_shipped_config_is_said(installed, tmp_path):
  done = run(installed, tmp_path, "-m", "vit_jax.main",
             "--config=configs/quikstart.py", "--workdir=run", code=2)
  assert "did you mean 'configs/quickstart.py'" in done.stderr
  assert "Traceback" not in done.stderr


def test_the_command_is_installed(installed, tmp_path):
  done = run(installed, tmp_path, installed / "bin" / "vit_jax", "--help")
  assert "usage: vit_jax VERB" in done.stdout

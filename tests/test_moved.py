"""Every old name answers with one that exists."""

import importlib
import pathlib
import subprocess
import sys

import pytest

import vit_jax
from vit_jax import moved


def exists(name):
  """Whether a dotted name below vit_jax is a module or in one."""
  try:
    importlib.import_module(f"vit_jax.{name}")
  except ImportError:
    module, _, attribute = name.rpartition(".")
    return attribute in vars(importlib.import_module(f"vit_jax.{module}"))
  return True


@pytest.mark.parametrize("old, new", [*moved.MODULES.items(),
                                      *moved.NAMES.items()])
def test_the_new_name_exists(old, new):
  assert all(exists(name) for name in new.split(", "))
  assert not exists("training.loop.tran")


def imports(statement, new):
  """Checks that a statement fails and says the new name."""
  with pytest.raises(ImportError) as raised:
    exec(statement, {})
  message = str(raised.value)
  assert "\n" not in message
  for name in new.split(", "):
    assert f"vit_jax.{name}" in message, message


@pytest.mark.parametrize("old, new", moved.MODULES.items())
def test_an_old_module_says_the_new_one(old, new):
  package, _, module = f"vit_jax.{old}".rpartition(".")
  imports(f"import vit_jax.{old}", new)
  imports(f"from vit_jax.{old} import anything", new)
  imports(f"from {package} import {module}", new)


@pytest.mark.parametrize("old, new", moved.NAMES.items())
def test_an_old_name_says_the_new_one(old, new):
  module, _, name = f"vit_jax.{old}".rpartition(".")
  imports(f"from {module} import {name}", new)


def test_other_names_fail_as_everywhere():
  for module in (vit_jax, importlib.import_module("vit_jax.config")):
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
      _ = module.nothing
    assert not hasattr(module, "nothing")
  with pytest.raises(ModuleNotFoundError):
    importlib.import_module("vit_jax.nothing")


def test_packages_with_an_old_name_are_still_imported():
  code = "from vit_jax import config, report; import vit_jax.report.write"
  subprocess.run([sys.executable, "-c", code], check=True)


def test_python_m_says_the_new_name():
  done = subprocess.run(
      [sys.executable, "-m", "vit_jax.train_loop"], capture_output=True,
      text=True, check=False)
  assert done.returncode == 1
  assert "vit_jax.train_loop is now vit_jax.training.loop" in done.stderr
  assert "Traceback" not in done.stderr


def test_the_page_shows_the_tables():
  page = pathlib.Path(__file__).parents[1] / "docs" / "migrating.md"
  assert "```{moved}\n```" in page.read_text(encoding="utf-8")

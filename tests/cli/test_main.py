"""The command itself: verbs, help, exit codes; nothing heavy for --help."""

import argparse
import ast
import pathlib
import pkgutil
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from vit_jax import __main__, cli
from vit_jax.cli import arguments
from vit_jax.errors import DataError, UsageError


def test_help_lists_every_verb(vit):
  ran = vit("--help")
  assert ran.code == 0
  for verb, summary in __main__.VERBS.items():
    assert f"  {verb} " in ran.out and summary in ran.out
  assert max(map(len, ran.out.splitlines())) <= 80


def test_a_verb_is_a_module_and_a_line():
  verbs = set()
  for module in pkgutil.iter_modules(cli.__path__):
    path = pathlib.Path(cli.__path__[0], f"{module.name}.py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {getattr(node, "name", None) or node.targets[0].id
             for node in tree.body
             if isinstance(node, ast.FunctionDef | ast.Assign)}
    if "add_arguments" in names:
      assert "run" in names, module.name
      verbs.add(module.name)
  assert verbs == set(__main__.VERBS)


HELP = """
import contextlib, sys
from vit_jax.__main__ import VERBS, main
assert main(["-h"]) == 0
heavy = {"jax", "flax", "numpy", "absl"} & set(sys.modules)
assert not heavy, heavy
for verb in VERBS:
  with contextlib.suppress(SystemExit):
    main([verb, "--help"])
  heavy = {"jax", "flax", "orbax", "matplotlib", "scipy"} & set(sys.modules)
  assert not heavy, (verb, heavy)
"""


def test_help_imports_neither_jax_nor_flax():
  start = time.perf_counter()
  done = subprocess.run([sys.executable, "-c", HELP], capture_output=True,
                        text=True, check=False)
  assert done.returncode == 0, done.stderr
  assert done.stdout.count("usage: ") == 1 + len(__main__.VERBS)
  # It takes half a second; the bound leaves room for a busy machine.
  assert time.perf_counter() - start < 10


def test_vit_jax_main_is_the_verb_train():
  done = subprocess.run(
      [sys.executable, "-m", "vit_jax.main", "--wrokdir=x"],
      capture_output=True, text=True, check=False)
  assert done.returncode == 2
  assert done.stderr == (
      "vit_jax: error: unknown argument '--wrokdir=x' (did you mean "
      "'--workdir'?); see python -m vit_jax train --help\n")


def test_words_about_the_config_go_their_own_way():
  words, config_words = arguments.split_config([
      "--config", "a.py:b", "--workdir", "x", "--config.model.scan",
      "--noconfig.train.report", "--config.train.steps", "-3",
      "--config.optim.learning_rate=1", "word"])
  assert words == ["--workdir", "x", "word"]
  assert config_words == [
      "--config=a.py:b", "--config.model.scan", "--noconfig.train.report",
      "--config.train.steps=-3", "--config.optim.learning_rate=1"]


def test_lists_are_read_item_by_item():
  read = arguments.list_of(arguments.positive)
  assert read("1, 5,10,") == (1, 5, 10)
  with pytest.raises(argparse.ArgumentTypeError, match="'0' is not a whole"):
    read("1,0")
  assert arguments.list_of(str, ";")("a,b; c") == ("a,b", "c")


@pytest.mark.parametrize("verb", __main__.VERBS)
def test_every_verb_explains_itself_with_an_example(vit, verb):
  ran = vit(verb, "--help")
  assert ran.code == 0
  assert f"vit_jax {verb} " in ran.out
  assert not ran.err


def test_without_a_verb_the_help_and_exit_code_2(vit):
  ran = vit()
  assert ran.code == 2
  assert "usage: " in ran.out


def test_version(vit):
  assert "jax " in vit("--version").out


def test_a_misspelt_option_is_answered_with_the_right_one(vit):
  ran = vit("predict", "a.png", "--checkpoint=a.npz", "--topk=3")
  assert ran.code == 2
  assert ran.err.count("\n") == 1
  assert "'--topk=3' (did you mean '--top_k'?)" in ran.err


def test_options_are_not_abbreviated(vit):
  assert vit("predict", "a.png", "--check=a.npz").code == 2


@pytest.mark.parametrize("error, code, message", [
    (UsageError("no"), 2, "vit_jax: error: no\n"),
    (DataError("broken"), 1, "vit_jax: error: broken\n"),
    (PermissionError(13, "Permission denied", "/x"), 1,
     "vit_jax: error: /x: Permission denied\n"),
    (KeyboardInterrupt(), 130, ""),
    (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"), 1,
     "vit_jax: error: the device is out of memory; use a smaller batch "
     "(RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes)\n"),
])
def test_errors_are_one_line_and_a_code(vit, monkeypatch, error, code, message):
  def fail(_):
    raise error

  verb = SimpleNamespace(__doc__="", add_arguments=lambda _: None, run=fail)
  monkeypatch.setattr(__main__, "_module", lambda _: verb)
  ran = vit("predict")
  assert (ran.code, ran.err, ran.out) == (code, message, "")


def test_a_bug_keeps_its_traceback(vit, monkeypatch):
  def fail(_):
    raise RuntimeError("a bug")

  verb = SimpleNamespace(__doc__="", add_arguments=lambda _: None, run=fail)
  monkeypatch.setattr(__main__, "_module", lambda _: verb)
  with pytest.raises(RuntimeError, match="a bug"):
    vit("predict")


def test_a_closed_pipe_is_quiet():
  command = f"{sys.executable} -c '{_LOUD}' | head -1"
  done = subprocess.run(["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"],
                        capture_output=True, text=True, check=False)
  assert done.stderr == ""
  assert done.stdout.split() == ["0", "141"]


_LOUD = """
from types import SimpleNamespace
import sys
from vit_jax import __main__
def run(args):
  for i in range(100000):
    print(i)
__main__._module = lambda _: SimpleNamespace(
    __doc__="", add_arguments=lambda _: None, run=run)
sys.exit(__main__.main(["predict"]))
"""

"""The command itself: verbs, help, exit codes; nothing heavy for --help."""

import ast
import pathlib
import pkgutil
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from vit_jax import __main__, cli
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


def test_help_of_python_imports_neither_jax_nor_flax():
  code = ("import sys\nfrom vit_jax.__main__ import main\ncode = main(['-h'])\n"
          "heavy = {'jax', 'flax', 'numpy', 'absl'} & set(sys.modules)\n"
          "sys.exit(code or 3 * bool(heavy))")
  start = time.perf_counter()
  done = subprocess.run([sys.executable, "-c", code], capture_output=True,
                        text=True, check=False)
  assert done.returncode == 0, done.stderr
  assert "usage: " in done.stdout
  # It takes 0.1 s; the bound leaves room for a busy machine.
  assert time.perf_counter() - start < 5


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

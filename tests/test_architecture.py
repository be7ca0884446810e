"""The house as README.md describes it: imports go one way, files stay short."""

import ast
import functools
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "vit_jax"
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FILE = 300
LONGEST_FUNCTION = 60
# What a newcomer sees first: the modules beside the rooms.
MOST_MODULES_AT_THE_TOP = 8

# Who may import whom: a stage imports itself and what stands above it here.
# "room.module" is a module of a room that stands on a floor of its own.
STAGES = (
    ("errors", "moved", "paths"),
    ("config",),
    ("devices",),
    ("data",),
    ("models",),
    ("weights",),
    ("config.recipes", "metrics", "objectives", "optim"),
    ("evaluators", "report"),
    ("training",),
    ("analysis", "aot", "paper"),
    ("benchmark", "experiments"),
    ("__init__",),
    ("cli",),
    ("__main__",),
    ("main",),
)
STAGE = {name: rank for rank, names in enumerate(STAGES) for name in names}


def module_name(path):
  """Returns "vit_jax.data.loader"; a package is named after its folder."""
  parts = path.relative_to(ROOT).with_suffix("").parts
  return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imported(tree):
  """Returns the modules of this package that a syntax tree imports."""
  found = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"relative import in line {node.lineno}"
      for alias in node.names:
        whole = f"{node.module}.{alias.name}"
        found.add(whole if whole in MODULES else node.module)
  return {name for name in found if name.split(".")[0] == "vit_jax"}


@functools.cache
def tree_of(name):
  return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def stage(name):
  """Returns (rank, top-level name) of a module."""
  parts = name.split(".")[1:] or ["__init__"]
  top = ".".join(parts[:2]) if ".".join(parts[:2]) in STAGE else parts[0]
  assert top in STAGE, f"{name}: give {top!r} a place in STAGES"
  return STAGE[top], top


def wrong_way(name, tree):
  """Returns the imports of a module that point the wrong way."""
  rank, _ = stage(name)
  return {other for other in imported(tree) if stage(other)[0] > rank}


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name):
  assert not wrong_way(name, tree_of(name)), f"imported by {name}"


def test_a_wrong_import_would_be_noticed():
  tree = ast.parse("def f():\n  from vit_jax.training.loop import train\n")
  assert wrong_way("vit_jax.models.vit", tree) == {"vit_jax.training.loop"}


def test_no_import_cycles():
  graph = {name: imported(tree_of(name)) & set(MODULES) for name in MODULES}
  done, open_ = set(), []

  def visit(name):
    assert name not in open_, " -> ".join([*open_, name])
    if name not in done:
      open_.append(name)
      for other in sorted(graph[name] - {name}):
        visit(other)
      open_.pop()
      done.add(name)

  for name in graph:
    visit(name)


def test_weights_never_import_training():
  training = ("objectives", "optim", "training", "evaluators")
  for name in MODULES:
    if name.startswith("vit_jax.weights"):
      tops = {other.split(".")[1] for other in imported(tree_of(name))
              if "." in other}
      assert not tops & set(training), name


def test_only_the_entry_imports_cli():
  for name in MODULES:
    if not name.startswith("vit_jax.cli") and name not in (
        "vit_jax.__main__", "vit_jax.main"):
      assert not any(other.startswith("vit_jax.cli")
                     for other in imported(tree_of(name))), name


def config_gets(tree):
  """Returns the lines that read a config with a default of their own."""
  return [
      node.lineno for node in ast.walk(tree)
      if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
      and node.func.attr in ("get", "get_oneway_ref")
      and "config" in ast.unparse(node.func.value).lower()]


def test_no_config_get():
  # Every key has its one default in vit_jax/config/sections.py.
  assert config_gets(ast.parse("run.config.train.get('x', 1)")) == [1]
  found = {name: config_gets(tree_of(name)) for name in MODULES}
  assert {k: v for k, v in found.items() if v} == {}


@pytest.mark.parametrize(
    "path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_fit_on_a_few_screens(path):
  assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def long_functions(tree, limit):
  """Returns [(name, lines)] of the functions longer than `limit` lines."""
  functions = [node for node in ast.walk(tree)
               if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
  lengths = [(node.name, node.end_lineno - node.lineno + 1)
             for node in functions]
  return [(name, lines) for name, lines in lengths if lines > limit]


def test_functions_fit_on_a_screen():
  tree = ast.parse("def f():\n  x = 1\n  return x\n")
  assert long_functions(tree, 2) == [("f", 3)] and not long_functions(tree, 3)
  too_long = {name: long_functions(tree_of(name), LONGEST_FUNCTION)
              for name in MODULES}
  assert {k: v for k, v in too_long.items() if v} == {}


def test_few_modules_lie_beside_the_rooms():
  assert len(list(PACKAGE.glob("*.py"))) <= MOST_MODULES_AT_THE_TOP


def test_tensorflow_is_imported_by_nothing_but_preparing():
  for name in MODULES:
    names = {alias.name.split(".")[0] for node in ast.walk(tree_of(name))
             if isinstance(node, ast.Import) for alias in node.names}
    names |= {(node.module or "").split(".")[0]
              for node in ast.walk(tree_of(name))
              if isinstance(node, ast.ImportFrom)}
    if "prepare" not in name and name != "vit_jax.benchmark.input_pace":
      assert not names & {"tensorflow", "clu"}, name
    if name != "vit_jax.benchmark.peers":  # which measures it
      assert "torch" not in names, name


def test_bars_come_from_one_place():
  # tqdm's own start a thread that outlives them.
  of_tqdm = {name for name in MODULES if re.search(
      r"tqdm\.(tqdm[(.]|trange)", ast.unparse(tree_of(name)))}
  assert of_tqdm <= {"vit_jax.data.progress_bar"}
  code = "\n".join([
      "import threading",
      "from vit_jax.data.progress_bar import Bar, progress_bar",
      "Bar(total=1, disable=False).close()",
      "progress_bar(total=1, unit='step', show=True).close()",
      "assert threading.active_count() == 1, threading.enumerate()"])
  subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_importing_everything_leaves_tensorflow_out():
  names = [name for name in MODULES
           if not name.endswith("__main__") and ".cli" not in name]
  code = "\n".join([
      "import importlib, sys",
      f"for name in {names!r}: importlib.import_module(name)",
      "heavy = {'tensorflow', 'torch', 'transformers', 'timm'}",
      "assert not heavy & set(sys.modules), heavy & set(sys.modules)"])
  subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_repository_has_nothing_else_at_its_top():
  if not (ROOT / ".git").exists():
    pytest.skip("not a clone")
  listed = subprocess.run(
      ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True,
      check=True).stdout.split()
  top = {path.split("/")[0] for path in listed}
  assert {name for name in top if not name.startswith(".")} <= {
      "vit_jax", "configs", "launch", "tests", "docs", "results",
      "setup.py", "pyproject.toml", "README.md", "LICENSE", "CONTRIBUTING.md",
      "CHANGELOG.md", "CITATION.cff", "SECURITY.md"}

"""Directives that copy texts out of the code, so that none is written twice.

    verbs    a section for every verb, with what its --help prints
    recipes  a section for every file in configs/, with its docstring
    floors   who may import whom, from tests/test_architecture.py
    moved    a table of old names and their new ones, from vit_jax/moved.py
"""

import ast
from collections.abc import Iterable
import contextlib
import importlib
import io
import os
import pathlib
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from vit_jax import moved
from vit_jax.__main__ import VERBS, main
from vit_jax.config.find import shipped_folder

ROOT = pathlib.Path(__file__).resolve().parents[2]


def help_of(verb: str) -> str:
  """Returns what `python -m vit_jax VERB --help` prints."""
  os.environ["COLUMNS"] = "80"
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
    main([verb, "--help"])
  return printed.getvalue().rstrip()


def verbs() -> Iterable[tuple[str, str]]:
  """Returns (name, help) of every verb, in the order of the help."""
  return [(verb, help_of(verb)) for verb in VERBS]


def recipes() -> Iterable[tuple[str, str]]:
  """Returns (name, docstring) of every shipped config, sorted by name."""
  paths = sorted(path for path in shipped_folder().glob("*.py")
                 if not path.name.startswith("_"))
  return [(f"configs/{path.name}", ast.get_docstring(
      ast.parse(path.read_text(encoding="utf-8"))) or "") for path in paths]


def stages() -> list[tuple[str, ...]]:
  """Returns the floors of the architecture test, the lowest first."""
  path = ROOT / "tests" / "test_architecture.py"
  tree = ast.parse(path.read_text(encoding="utf-8"))
  return next(
      ast.literal_eval(node.value) for node in tree.body
      if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) ==
      "STAGES")


def purpose(name: str) -> str:
  """Returns the first sentence of a module's docstring."""
  module = importlib.import_module(
      "vit_jax" if name == "__init__" else f"vit_jax.{name}")
  text = (module.__doc__ or "").partition("\n\n")[0]
  return text.replace("\n", " ").replace("`", "")


class Sections(SphinxDirective):
  """Writes (title, text) pairs as sections, each text exactly as it is."""

  texts: Any = None

  def run(self) -> list[nodes.Node]:
    """Returns the sections."""
    done = []
    for title, text in type(self).texts():
      section = nodes.section(ids=[nodes.make_id(title)], names=[title])
      section += nodes.title(title, "", nodes.literal(title, title))
      section += nodes.literal_block(text, text, language="none")
      self.state.document.note_explicit_target(section)
      done.append(section)
    return done


class Floors(SphinxDirective):
  """Writes a list of the floors: the modules of each, and what they are for."""

  def run(self) -> list[nodes.Node]:
    """Returns the list."""
    floors = nodes.enumerated_list(classes=["floors"])
    for names in stages():
      rooms = nodes.definition_list()
      for name in names:
        term = nodes.term("", "", nodes.literal(name, name))
        rooms += nodes.definition_list_item("", term, nodes.definition(
            "", nodes.paragraph("", purpose(name))))
      floors += nodes.list_item("", rooms)
    return [floors]


class Moved(SphinxDirective):
  """Writes a table: what a module or name is called now."""

  def run(self) -> list[nodes.Node]:
    """Returns the table."""
    rows = ["| before | now |", "|---|---|"]
    for old, new in sorted({**moved.MODULES, **moved.NAMES}.items()):
      places = ", ".join(f"`vit_jax.{place}`" for place in new.split(", "))
      rows.append(f"| `{old}` | {places} |")
    return self.parse_text_to_nodes("\n".join(rows))


def setup(app: Sphinx) -> dict[str, bool]:
  """Registers the directives."""
  app.add_directive("floors", Floors)
  app.add_directive("moved", Moved)
  for source in (verbs, recipes):
    app.add_directive(source.__name__, type(
        source.__name__, (Sections,), {"texts": staticmethod(source)}))
  return {"parallel_read_safe": True}

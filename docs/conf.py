"""Sphinx settings: sphinx-build -W -n docs build/site."""

import pathlib
import sys

from docutils import nodes
from sphinx.application import Sphinx

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

from vit_jax import __version__  # noqa: E402

project = "vit_jax"
copyright = "the vit_jax authors"  # noqa: A001
version = release = __version__

extensions = [
    "myst_nb",  # pages in Markdown, and the notebook
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",  # docstrings in Google's style
    "sphinx_copybutton",
    "from_code",  # _ext/from_code.py
]
exclude_patterns = ["_ext"]
# Warnings are errors in CI; within the package every reference must resolve.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!vit_jax).*")]

# The notebook is stored with its outputs, and tests/test_notebook.py runs it.
nb_execution_mode = "off"
myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

highlight_language = "none"  # of code without a language: logs and help
smartquotes = False  # "auto" in a docstring is code, -- begins a flag
# `name` in a docstring is code, not a reference.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 72
toc_object_entries_show_parents = "hide"

copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
html_title = "vit_jax"
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#1f6f8c", "color-brand-content": "#1f6f8c",
        "color-brand-visited": "#1f6f8c"},
    "dark_css_variables": {
        "color-brand-primary": "#5bbcdc", "color-brand-content": "#5bbcdc",
        "color-brand-visited": "#5bbcdc"},
}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"


def polish(_: Sphinx, tree: nodes.document) -> None:
  """Gives lists of parameters a dash, and those of attributes their name."""
  for text in tree.findall(nodes.Text):
    field = isinstance(text.parent, nodes.field_name)
    if text == " -- ":
      text.parent.replace(text, nodes.Text(" \N{EN DASH} "))
    elif field and text == "Variables":
      text.parent.replace(text, nodes.Text("Attributes"))


def setup(app: Sphinx) -> None:
  """Registers `polish`."""
  app.connect("doctree-read", polish)

"""report.html of one or several runs: facts, curves, page."""

from typing import Any

from vit_jax import moved


def __getattr__(name: str) -> Any:
  """Answers names of the module that was here before."""
  raise moved.missing(__name__, name)

"""Configs: every key and its default, finding the files, what recipes share."""

from typing import Any

from vit_jax import moved


def __getattr__(name: str) -> Any:
  """Answers names of the module that was here before."""
  raise moved.missing(__name__, name)

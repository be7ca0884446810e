"""libtpu compiles on any machine, but is large: without it tests say so."""

import importlib.util

import pytest


@pytest.fixture
def libtpu():
  """Skips where the TPU compiler is not installed."""
  if importlib.util.find_spec("libtpu") is None:
    pytest.skip("the TPU compiler (pip install 'jax[tpu]') is not installed")

"""Imports PyTorch's models for the tests marked `oracle`."""

import functools
import importlib
from types import ModuleType

import pytest


@functools.cache
def import_timm() -> ModuleType:
  """Returns timm; skips the test where torch or timm cannot be imported."""
  torch = pytest.importorskip("torch", reason="torch is not installed")
  try:
    return importlib.import_module("timm")
  except RuntimeError:
    # A torchvision built for another torch has no compiled operators, and
    # refuses to be imported without their schemas. No model here runs them.
    library = torch.library.Library("torchvision", "DEF")
    arguments = "Tensor dets, Tensor scores, float iou_threshold"
    library.define(f"nms({arguments}) -> Tensor")
    library.define(f"qnms({arguments}) -> Tensor")
    import_timm.library = library  # lives as long as the operators
    return importlib.import_module("timm")
  except ImportError as error:
    pytest.skip(f"timm cannot be imported: {error}")

"""Imports PyTorch's models for the tests marked `oracle`."""

import functools
import importlib
from types import ModuleType

import pytest


def import_timm() -> ModuleType:
  """Returns timm; skips the test where torch or timm cannot be imported."""
  return _import("timm")


def import_transformers() -> ModuleType:
  """Returns transformers; skips the test where it cannot be imported."""
  _import("transformers.models.vit.modeling_vit")
  return importlib.import_module("transformers")


@functools.cache
def _import(name: str) -> ModuleType:
  torch = pytest.importorskip("torch", reason="torch is not installed")
  _mend_torchvision(torch)
  try:
    return importlib.import_module(name)
  except ImportError as error:
    pytest.skip(f"{name} cannot be imported: {error}")


@functools.cache
def _mend_torchvision(torch: ModuleType) -> object:
  try:
    return importlib.import_module("torchvision")
  except ImportError:
    return None
  except RuntimeError:
    # A torchvision built for another torch has no compiled operators, and
    # refuses to be imported without their schemas. No model here runs them.
    library = torch.library.Library("torchvision", "DEF")
    arguments = "Tensor dets, Tensor scores, float iou_threshold"
    library.define(f"nms({arguments}) -> Tensor")
    library.define(f"qnms({arguments}) -> Tensor")
    importlib.import_module("torchvision")
    return library  # lives as long as the operators

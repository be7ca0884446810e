"""Checks the array shapes in signatures while the tests run, and only there.

`install()` makes Python decorate every function and dataclass of vit_jax that
is imported afterwards: an array whose rank, shape or dtype is not what the
signature promises raises jaxtyping.TypeCheckError. A name that stands in two
places of one signature ("b n d" in, "b d" out) must be of one size.

Only hints with arrays in them are checked, so that tests may pass fakes of
everything else; mypy checks those without running anything. Processes that
the tests start run as users run them, without the checks.
"""

from collections.abc import Callable
import functools
import inspect
import operator
import os
import types
import typing
from typing import Any

import beartype
import jax
import jaxtyping
import numpy as np

# VIT_JAX_SHAPE_CHECKS=0 pytest: without them, to step through with a debugger.
SWITCH = "VIT_JAX_SHAPE_CHECKS"


def install() -> None:
  """Checks the modules of vit_jax that are imported from now on."""
  if os.environ.get(SWITCH, "1") != "0":
    jaxtyping.install_import_hook("vit_jax", f"{__name__}.check_arrays")


def check_arrays(function: Callable) -> Callable:
  """Returns `function` with its array arguments and results checked."""
  hints = {name: of_either_library(hint)
           for name, hint in function.__annotations__.items()
           if has_arrays(hint)}
  if not hints:
    return function
  function.__annotations__ = hints
  return beartype.beartype(function)


def has_arrays(hint: object) -> bool:
  """Tells whether a jaxtyping hint is part of `hint`."""
  return is_array(hint) or any(map(has_arrays, typing.get_args(hint)))


def is_array(hint: object) -> bool:
  """Tells whether `hint` is a jaxtyping hint."""
  return inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray)


def of_either_library(hint: Any) -> Any:
  """Returns `hint` with NumPy's arrays allowed where it asks for JAX's.

  JAX converts what it is given, and code of both (`images / 255`) returns
  NumPy's for NumPy's. Ranks, shapes and dtypes are what is checked.
  """
  if is_array(hint):
    if hint.array_type is jax.Array:
      return hint.dtype[jax.Array | np.ndarray, hint.dim_str]
    return hint
  origin, members = typing.get_origin(hint), typing.get_args(hint)
  if origin in (typing.Union, types.UnionType):
    return functools.reduce(operator.or_, map(of_either_library, members))
  if origin in (tuple, dict):
    return origin[tuple(map(of_either_library, members))]
  return hint

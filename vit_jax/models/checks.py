"""Checks of a network's attributes, made before anything is compiled.

Each message names the config key, its value, what was expected and what works.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from vit_jax.errors import UsageError, suggest


def check_choice(key: str, value: str, known: Iterable[str]) -> None:
  """Raises UsageError unless `value` is one of the known names."""
  known = tuple(known)
  if value not in known:
    raise UsageError(
        f"model.{key}={value!r} is unknown{suggest(str(value), known)}; it is "
        f"one of {', '.join(known)}")


def check_heads(width: int, num_heads: int) -> None:
  """Raises UsageError, naming the head counts that work, unless heads fit."""
  if num_heads > 0 and width % num_heads == 0:
    return
  divisors = [n for n in range(1, width + 1) if width % n == 0]
  # Heads narrower than 8 are legal but useless; list them only if all are.
  works = [n for n in divisors if width // n >= 8] or divisors
  raise UsageError(
      f"model.width={width} is not divisible by model.num_heads={num_heads}; "
      f"head counts that work: {', '.join(map(str, works))}")


def check_rates(rates: Mapping[str, float]) -> None:
  """Raises UsageError unless every drop rate lies in [0, 1)."""
  for key, rate in rates.items():
    if not 0 <= rate < 1:
      raise UsageError(
          f"model.{key}={rate} is not a rate; expected 0 <= {key} < 1")


def check_sizes(sizes: Mapping[str, Any]) -> None:
  """Raises UsageError unless every size is a positive whole number."""
  for key, size in sizes.items():
    if not isinstance(size, int) or size < 1:
      raise UsageError(
          f"model.{key}={size!r} is not a size; expected a whole number >= 1")


def check_patch(patch_size: Any) -> None:
  """Raises UsageError unless the patch is a pair of positive whole numbers."""
  if (len(patch_size) != 2
      or not all(isinstance(side, int) and side > 0 for side in patch_size)):
    raise UsageError(
        f"model.patch_size={patch_size!r} is not a patch; expected one whole "
        "number >= 1 or a pair of them, (height, width)")

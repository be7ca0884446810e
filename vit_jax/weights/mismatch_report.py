"""Reports every array that does not fit a model, in one message."""

from collections.abc import Mapping
import re

import numpy as np

from vit_jax.errors import CheckpointError


def refuse_mismatches(
    flat: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]],
    source: str,
) -> None:
  """Raises CheckpointError with every missing, extra and misshapen array.

  Args:
    flat: the parameters at hand.
    expected: the shapes of the model's.
    source: the file's name, for messages.
  """
  missing = {name: "" for name in expected if name not in flat}
  unknown = {name: "" for name in flat if name not in expected}
  misshapen = {
      name: f" is {flat[name].shape}, the model's {expected[name]}"
      for name in flat
      if name in expected and flat[name].shape != expected[name]}
  problems = [
      f"{len(names)} {title}: {', '.join(_grouped(names))}"
      for title, names in (
          ("missing", missing), ("unknown to the model", unknown),
          ("of another shape", misshapen))
      if names]
  if problems:
    raise CheckpointError(
        f"{source} does not fit the model: {'; '.join(problems)}; choose the "
        "model that the file is of (vit_jax inspect shows it)")


def _grouped(names: Mapping[str, str]) -> list[str]:
  """Returns names with their details; those of alike blocks become one."""
  groups: dict[tuple[str, str], list[int]] = {}
  for name, detail in names.items():
    match = re.search(r"encoderblock_(\d+)", name)
    key = (re.sub(r"encoderblock_\d+", "encoderblock_{}", name), detail)
    groups.setdefault(key, []).append(int(match[1]) if match else 0)
  return [name.replace("{}", _numbers(blocks)) + detail
          for (name, detail), blocks in groups.items()]


def _numbers(numbers: list[int]) -> str:
  """Returns "3", "{1,4}" or "{0..11}", as a shell would expand it."""
  numbers = sorted(numbers)
  if len(numbers) == 1:
    return str(numbers[0])
  if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
    return f"{{{numbers[0]}..{numbers[-1]}}}"
  return "{" + ",".join(map(str, numbers)) + "}"

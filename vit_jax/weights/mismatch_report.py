"""Reports every array that does not fit a model, in one message."""

from collections.abc import Callable, Mapping
import re

import numpy as np

from vit_jax.errors import CheckpointError


def refuse(
    flat: Mapping[str, np.ndarray], want: Mapping[str, tuple[int, ...]],
    source: str,
) -> None:
  """Raises CheckpointError with every missing, extra and misshapen array."""
  def shapes(name: str) -> str:
    return f" is {flat[name].shape}, the model's {want[name]}"

  problems = []
  for title, names, detail in (
      ("missing", [n for n in want if n not in flat], lambda _: ""),
      ("unknown to the model", [n for n in flat if n not in want],
       lambda _: ""),
      ("of another shape", [n for n in flat if n in want
                            and flat[n].shape != want[n]], shapes)):
    if names:
      problems.append(
          f"{len(names)} {title}: {', '.join(_grouped(names, detail))}")
  if problems:
    raise CheckpointError(
        f"{source} does not fit the model: {'; '.join(problems)}; choose the "
        "model that the file is of (vit_jax inspect shows it)")


def _grouped(
    names: list[str], detail: Callable[[str], str]
) -> list[str]:
  """Returns the names, those that differ only in the block as one."""
  groups = {}
  for name in names:
    match = re.search(r"encoderblock_(\d+)", name)
    key = (re.sub(r"encoderblock_\d+", "encoderblock_{}", name), detail(name))
    groups.setdefault(key, []).append(int(match[1]) if match else 0)
  return [name.replace("{}", _numbers(blocks)) + text
          for (name, text), blocks in groups.items()]


def _numbers(numbers: list[int]) -> str:
  """Returns "3", "{1,4}" or "{0..11}", as a shell would read it."""
  numbers = sorted(numbers)
  if len(numbers) == 1:
    return str(numbers[0])
  if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
    return f"{{{numbers[0]}..{numbers[-1]}}}"
  return "{" + ",".join(map(str, numbers)) + "}"

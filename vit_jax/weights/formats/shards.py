"""Weights in several .safetensors files with an index, cut by transformers.

model.safetensors.index.json names the file of every array:
{"weight_map": {name: "model-00001-of-00003.safetensors"}}.
"""

from collections.abc import Callable
import functools
import json
import os
import pathlib
import re
from typing import Any

import numpy as np

from vit_jax.errors import CheckpointError, abbreviate
from vit_jax.weights.formats.safetensors import read_safetensors

INDEX = ".safetensors.index.json"
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors")


def is_index(path: str | os.PathLike) -> bool:
  """Returns whether a path is that of an index."""
  return os.fspath(path).endswith(INDEX)


def read_shards(
    path: str | os.PathLike, select: Callable[[list[str]], list[str]] = list
) -> dict[str, np.ndarray]:
  """Returns the arrays of all files of an index.

  Args:
    path: the index.
    select: chooses names among those in the index; the others are not read.

  Raises:
    CheckpointError: the index is damaged, or a file of it is missing or lacks
      an array.
  """
  try:
    places: dict[str, Any] = json.loads(
        pathlib.Path(path).read_text("utf-8"))["weight_map"]
    files = sorted(set(places.values()))
    folder = pathlib.Path(path).parent
    missing = [name for name in files if not (folder / name).is_file()]
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise CheckpointError(
        f"{path}: not an index of .safetensors files ({error!r}); get the file "
        "again") from None
  if missing:
    raise CheckpointError(
        f"{path}: {len(missing)} of its {len(files)} files are missing: "
        f"{abbreviate(missing)}; put them beside it")
  wanted = set(select(list(places)))
  arrays: dict[str, np.ndarray] = {}
  for name in files:
    own = {array for array in wanted if places[array] == name}
    found, _ = read_safetensors(folder / name, functools.partial(_among, own))
    arrays |= found
  if lacking := [name for name in places if name in wanted - set(arrays)]:
    raise CheckpointError(
        f"{path}: {abbreviate(lacking)} are not in the files that it names; "
        "get the files again")
  return {name: arrays[name] for name in places if name in arrays}


def _among(own: set[str], names: list[str]) -> list[str]:
  """Returns the names that are in `own`."""
  return [name for name in names if name in own]


def refuse_shard(path: str | os.PathLike) -> None:
  """Raises CheckpointError if a file is one of several by its name."""
  match = _SHARD.fullmatch(pathlib.Path(path).name)
  if match and int(match[3]) > 1:
    raise CheckpointError(
        f"{path}: one of {int(match[3])} files that make one network; give "
        f"their index, {match[1]}{INDEX}")

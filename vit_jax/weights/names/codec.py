"""What a dialect of weights files is: an object that reads and writes it.

A dialect is one library's way to name, shape and describe the parameters of a
Vision Transformer. Everything that the package knows of it lies in its Codec;
`codecs.CODECS` lists them. To add one, write a module with a Codec beside the
others and name it there.
"""

import abc
from collections.abc import Collection, Mapping
import dataclasses
import os
from typing import Any

from absl import logging
import numpy as np

from vit_jax.errors import CheckpointError, abbreviate

# Numbers that no array shows, as the released networks have them. They hold
# wherever a description leaves them out.
RELEASED_NUMERICS = {"ln_eps": 1e-6, "stem_eps": "released", "gelu": "tanh"}


@dataclasses.dataclass(frozen=True)
class FileConfig:
  """What is known of a weights file besides its arrays.

  Attributes:
    source: the weights file, for messages.
    described_in: the file that `metadata` was read from, for messages.
    metadata: keys of model.json, see `weights.model_json`.
    mean, std: what the network expects of its pixels: (p - mean) / std for p
      in 0..1, one number for each channel. 0.5 and 0.5 mean [-1, 1].
    foreign: whether the arrays were written by the dialect's own library, so
      that its defaults hold, rather than by this package.
    num_heads: the number of attention heads that the caller asks for.
    old_grid: (rows, columns) of the position embedding, as the caller says.
    likely_sizes: (height, width) that the position embedding may belong to,
      which hold where it has that many rows.
    notes: what was assumed instead of a key of the metadata; a sentence for
      each key, logged unless something states the key.
    unprepared: why the library's preparation of images cannot be done here;
      an error where nothing else says how to prepare them.
  """

  source: str
  described_in: str
  metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
  mean: tuple[float, ...] = (0.5, 0.5, 0.5)
  std: tuple[float, ...] = (0.5, 0.5, 0.5)
  foreign: bool = False
  num_heads: int | None = None
  old_grid: tuple[int, int] | None = None
  likely_sizes: tuple[tuple[int, int], ...] = ()
  notes: Mapping[str, str] = dataclasses.field(default_factory=dict)
  unprepared: str = ""

  @property
  def architecture(self) -> dict[str, Any]:
    """Returns the arguments of the network that the description states."""
    return self.metadata.get("architecture") or {}

  @property
  def image_size(self) -> tuple[int, int] | None:
    """Returns (height, width) as described, None if they are not."""
    size = self.metadata.get("image_size")
    return (size[0], size[1]) if size else None

  @property
  def heads(self) -> int | None:
    """Returns the attention heads as asked for, else as described."""
    return self.num_heads or self.architecture.get("num_heads")

  def patches(self, stride: tuple[int, int]) -> tuple[int | None, list[int]]:
    """Returns how many patches the position embedding is for.

    Args:
      stride: height and width in pixels of what makes one token.

    Returns:
      The number that the caller or a description states, None if neither does;
      and numbers that it may be.
    """
    def count(size: tuple[int, int]) -> int:
      return (size[0] // stride[0]) * (size[1] // stride[1])

    stated = None
    if self.old_grid:
      stated = self.old_grid[0] * self.old_grid[1]
    elif self.image_size:
      stated = count(self.image_size)
    return stated, [count(size) for size in self.likely_sizes]


class Codec(abc.ABC):
  """One dialect, read and written.

  Attributes:
    name: what --dialect calls it.
    container: "npz" or "safetensors", the kind of file that it is written to;
      it is read from both.
    unseen: arguments of the network that no array shows, as the dialect's
      library computes where no description says otherwise.
    read_only: whether nothing is written in it.
  """

  name: str
  container: str
  unseen: Mapping[str, Any]
  read_only: bool = False

  @abc.abstractmethod
  def matches(self, names: Collection[str]) -> bool:
    """Returns whether a file with these arrays is of this dialect."""

  def select(self, names: list[str], source: str) -> list[str]:
    """Returns the arrays to read; what is ignored is logged with `source`."""
    del source
    return names

  def read_config(
      self, path: str | os.PathLike, arrays: Mapping[str, np.ndarray]
  ) -> FileConfig:
    """Reads the files that the dialect's library keeps beside its weights.

    Only called for files that this package did not describe.

    Args:
      path: the weights file.
      arrays: its arrays, from which some libraries' settings follow.

    Raises:
      CheckpointError: they are damaged, or describe what this package's
        networks cannot compute.
    """
    del arrays
    return FileConfig(os.fspath(path), os.fspath(path))

  @abc.abstractmethod
  def decode(
      self, arrays: Mapping[str, np.ndarray], config: FileConfig
  ) -> tuple[dict[str, np.ndarray], str]:
    """Returns parameters under the model's names, and their layout in words.

    Values are float32, one entry for each block, and share memory with `arrays`
    where nothing changed. Unknown arrays keep their names, to be reported
    with everything else that does not fit. The layout is the dialect's name,
    followed by what else is particular: "released opt/target/ bfloat16".

    Raises:
      CheckpointError: the arrays are not a network of this package.
    """

  def resize_method(self, arrays: Mapping[str, np.ndarray]) -> str | None:
    """Returns how the library resizes positions, see `resize_posemb`.

    None for networks that are resized as the paper does it.
    """
    del arrays
    return None

  @abc.abstractmethod
  def encode(
      self, flat: Mapping[str, np.ndarray], architecture: Mapping[str, Any]
  ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns arrays under the dialect's names, and their architecture.

    Args:
      flat: float32, under the model's names, one entry for each block.
      architecture: arguments of the network. What the library computes in
        another way is made up for in the arrays where that is possible, and
        the architecture returned is the one that fits them.

    Raises:
      CheckpointError: the dialect has no place for a parameter.
    """

  def config_files(
      self, path: str | os.PathLike, description: Mapping[str, Any]
  ) -> dict[str, dict[str, Any]]:
    """Returns what the library expects beside the weights: {file name: JSON}.

    Args:
      path: the weights file that is going to be written.
      description: keys of model.json.

    Raises:
      UsageError: such a file of something else is in the way.
    """
    del path, description
    return {}


def as_float32(
    arrays: Mapping[str, np.ndarray], source: str
) -> dict[str, np.ndarray]:
  """Returns the arrays as float32, uncopied where they are; logs the others.

  Raises:
    CheckpointError: whole numbers, which are parameters only together with the
      scales of a quantisation.
  """
  whole = [name for name, a in arrays.items() if a.dtype.kind in "iub"]
  if whole:
    kinds = sorted({arrays[name].dtype.name for name in whole})
    raise CheckpointError(
        f"{source}: whole numbers ({', '.join(kinds)}) where parameters were "
        f"expected: {abbreviate(whole)}; quantised weights are not supported, "
        "write them as float32 first")
  others = sorted({a.dtype.name for a in arrays.values()} - {"float32"})
  if others:
    logging.warning(
        "%s: arrays in %s became float32", source, ", ".join(others))
  return {name: a.astype(np.float32, copy=False) for name, a in arrays.items()}

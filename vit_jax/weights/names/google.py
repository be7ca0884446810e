"""The layouts of Google's files: released, linen and big_vision.

The model uses the Linen names, one entry for each block, with a row for the
class token in the position embedding. Files differ in these ways, and any
mixture of them is read:

  prefix      none, opt/target/, params/, or params/img/ and img/ (towers)
  numbering   one counter per block (LayerNorm_0, LayerNorm_2, MlpBlock_3,
              MultiHeadDotProductAttention_1: the files of 2020 to 2022), or
              one per kind of module (LayerNorm_0, LayerNorm_1, ...)
  posemb      Transformer/posembed_input/pos_embedding with a row for the class
              token, Transformer/pos_embedding, or pos_embedding at the top,
              where big_vision has added that row to `cls`
  blocks      encoderblock_0, encoderblock_1, ...; or stacked in encoderblock
  GroupNorm   (1, 1, 1, c) or (c,)
  ResNets     of BiT, under resnet/: see `names.bit`
  dtype       float32, or others, which become float32
"""

from collections.abc import Collection, Mapping
import re
from typing import Any

from absl import logging
import numpy as np

from vit_jax.errors import CheckpointError, abbreviate
from vit_jax.weights import posemb_grid
from vit_jax.weights.architecture import token_stride
from vit_jax.weights.names import bit
from vit_jax.weights.names.codec import (
  RELEASED_NUMERICS,
  Codec,
  FileConfig,
  as_float32,
)
from vit_jax.weights.posemb_grid import POSEMB
from vit_jax.weights.trees import STACKED, unstack_blocks

_PREFIXES = ("opt/target/", "params/img/", "img/", "params/",
             bit.PREFIX, "")
# Every network has one of these arrays.
_FIRST = ("embedding/kernel", bit.ROOT)
# What lies beside the parameters in training checkpoints.
_STATE = re.compile(
    r"(opt|opt_state|state|states|extra|(params/)?txt|params_ema)/"
    r"|params/(t|b)$|(step|opt|extra|t|b)$")
_POSEMB_PLACES = (POSEMB, "Transformer/pos_embedding", "pos_embedding")
# Submodules of a block: name in the old files -> name in Linen.
_TO_LINEN = {
    "MultiHeadDotProductAttention_1": "MultiHeadDotProductAttention_0",
    "LayerNorm_2": "LayerNorm_1",
    "MlpBlock_3": "MlpBlock_0",
}
_TO_RELEASED = {new: old for old, new in _TO_LINEN.items()}
_BLOCK = re.compile(r"(Transformer/encoderblock(?:_\d+)?)/([^/]+)/(.*)")
_GROUP_NORM = re.compile(r"(gn_root|block\d+/unit\d+/gn\w+)/(scale|bias)")


class GoogleCodec(Codec):
  """One of the three layouts to write; each reads any mixture of them."""

  container = "npz"
  unseen = RELEASED_NUMERICS

  def __init__(self, name: str):
    self.name = name

  def matches(self, names: Collection[str]) -> bool:
    """Returns whether this layout's names are among them, after a prefix."""
    prefix = _find_prefix(names)
    if prefix is None:
      return False
    return self.name == _layout(
        [name.removeprefix(prefix) for name in names], prefix)

  def select(self, names: list[str], source: str) -> list[str]:
    """Returns all but optimiser state and other towers."""
    return select_parameters(names, source)

  def decode(
      self, arrays: Mapping[str, np.ndarray], config: FileConfig
  ) -> tuple[dict[str, np.ndarray], str]:
    """See `normalise`."""
    return normalise(arrays, config.source, config)

  def encode(
      self, flat: Mapping[str, np.ndarray], architecture: Mapping[str, Any]
  ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """See `encode`; the architecture is unchanged."""
    return encode(flat, self.name), dict(architecture)


RELEASED = GoogleCodec("released")
LINEN = GoogleCodec("linen")
BIG_VISION = GoogleCodec("big_vision")


def select_parameters(names: list[str], source: str = "weights") -> list[str]:
  """Returns the names to read: all but optimiser state and other towers.

  What is left out is counted in a warning. Names of no known kind are kept, to
  be reported with everything else that does not fit.
  """
  prefix = _find_prefix(names)
  # params/img/ is inside params/, whose other parts are another tower's.
  kept = [name for name in names
          if prefix and name.startswith(prefix) or not _STATE.match(name)]
  ignored = [name for name in names if name not in set(kept)]
  if ignored:
    logging.warning("%s: ignored %d arrays beside the parameters (optimiser "
                    "state, another tower): %s", source, len(ignored),
                    abbreviate(ignored))
  return kept


def normalise(
    flat: Mapping[str, np.ndarray], source: str = "weights",
    config: FileConfig | None = None,
) -> tuple[dict[str, np.ndarray], str]:
  """Returns parameters under the model's names, and the layout they were in.

  Values are float32 and share memory with the input where nothing changed.
  The layout is "released", "linen" or "big_vision", followed by what else is
  particular: "released opt/target/", "big_vision params/ stacked".

  Args:
    flat: arrays under the names of the file.
    source: the file's name, for messages.
    config: what is known besides, such as the size of the images.
  """
  prefix = _find_prefix(flat) or ""
  flat = {name.removeprefix(prefix): flat[name]
          for name in select_parameters(list(flat), source)}
  traits = [prefix] if prefix else []
  if any(name.startswith(STACKED) for name in flat):
    traits.append("stacked")
  traits += sorted({a.dtype.name for a in flat.values()} - {"float32"})
  layout = " ".join([_layout(flat, prefix), *traits])
  flat = {_rename(name, _TO_LINEN): _plain(name, a)
          for name, a in as_float32(flat, source).items()}
  if bit.matches(flat):
    flat = bit.decode(flat)
  return _place_posemb(unstack_blocks(flat), config), layout


def encode(
    flat: Mapping[str, np.ndarray], layout: str
) -> dict[str, np.ndarray]:
  """Returns parameters under a layout's names: normalise, the other way."""
  flat = {name: _plain(name, a) for name, a in flat.items()}
  if bit.matches(flat):
    if layout == "big_vision":
      raise CheckpointError(
          "a ResNet has no names in big_vision's dialect here; choose released "
          "or linen")
    return bit.encode(flat) if layout == "released" else flat
  if layout == "released":
    return {_rename(name, _TO_RELEASED):
            a.reshape(1, 1, 1, -1) if _GROUP_NORM.fullmatch(name) else a
            for name, a in flat.items()}
  if layout == "big_vision":
    if POSEMB in flat:
      flat = posemb_grid.fold_rows(flat)
      flat["pos_embedding"] = flat.pop(POSEMB)
    return {f"params/{name}": a for name, a in flat.items()}
  return flat


def _find_prefix(names: Collection[str]) -> str | None:
  """Returns what precedes the names of a network; None if there is none."""
  names = set(names)
  for prefix in _PREFIXES:
    if any(f"{prefix}{first}" in names for first in _FIRST):
      return prefix
  # A file without the patch embedding: the prefix under which most names are,
  # so that the complete report can follow.
  for prefix in _PREFIXES:
    if any(name.startswith(f"{prefix}Transformer/") for name in names):
      return prefix
  return None


def _layout(names: Collection[str], prefix: str) -> str:
  """Returns the layout that names without their prefix are in."""
  if bit.matches(names):
    return "released" if prefix == bit.PREFIX else "linen"
  if "pos_embedding" in names:
    return "big_vision"
  if any(_rename(name, _TO_LINEN) != name for name in names):
    return "released"
  return "linen"


def _rename(name: str, table: Mapping[str, str]) -> str:
  """Returns a name with its block's submodule renumbered."""
  match = _BLOCK.fullmatch(name)
  if not match:
    return name
  return f"{match[1]}/{table.get(match[2], match[2])}/{match[3]}"


def _plain(name: str, array: np.ndarray) -> np.ndarray:
  """Returns a parameter as float32, GroupNorm's as (c,)."""
  if _GROUP_NORM.fullmatch(name) and array.shape[:-1] == (1, 1, 1):
    array = array.reshape(-1)
  return array.astype(np.float32, copy=False)


def _place_posemb(
    flat: dict[str, np.ndarray], config: FileConfig | None
) -> dict[str, np.ndarray]:
  """Returns the position embedding in its place, with a row for `cls`."""
  place = next((p for p in _POSEMB_PLACES if p in flat), None)
  if place is None:
    return flat
  posemb = flat.pop(place)
  prefix = posemb_grid.num_prefix(flat)
  if prefix and posemb.ndim == 3 and (
      place == "pos_embedding"
      # This place is written both ways.
      or (place == "Transformer/pos_embedding"
          and _lacks_rows(flat, posemb, prefix, config))):
    # `cls` already contains its position row: what is added must be zero.
    posemb = posemb_grid.prepend_rows(posemb, prefix)
  return flat | {POSEMB: posemb}


def _lacks_rows(
    flat: Mapping[str, np.ndarray], posemb: np.ndarray, prefix: int,
    config: FileConfig | None,
) -> bool:
  """Returns whether all rows of a position embedding are those of patches."""
  kernel, rows = flat.get("embedding/kernel"), posemb.shape[1]
  if config is not None and kernel is not None and kernel.ndim == 4:
    stated, likely = config.patches(token_stride(flat))
    for patches in (stated, *likely):
      if patches is not None and rows - patches in (0, prefix):
        return rows == patches
  return posemb_grid.lacks_class_row(posemb)

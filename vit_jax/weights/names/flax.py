"""The layouts in which the world keeps the same parameters, both ways.

The model uses the Linen names, one entry a block, the class token's position
row in the position embedding. Files differ in these ways, and any mixture of
them is read:

  prefix      none, opt/target/, params/, or params/img/ and img/ (towers)
  numbering   one counter a block (LayerNorm_0, MultiHeadDotProductAttention_1,
              LayerNorm_2, MlpBlock_3: the files of 2020 to 2022), or one
              counter per kind (LayerNorm_0, LayerNorm_1, ...)
  posemb      Transformer/posembed_input/pos_embedding with a row for the class
              token, Transformer/pos_embedding, or pos_embedding at the top,
              where big_vision has added that row to `cls`
  blocks      encoderblock_0, encoderblock_1, ...; or stacked in encoderblock
  GroupNorm   (1, 1, 1, c) or (c,)
  ResNets     of BiT, under resnet/: see `bit_names`
  dtype       float32, or halves, which become float32
"""

from collections.abc import Mapping
import math
import re

from absl import logging
import numpy as np

from vit_jax.errors import CheckpointError, suggest
from vit_jax.weights.formats.raw import listed
from vit_jax.weights.names import bit

POSEMB = "Transformer/posembed_input/pos_embedding"
NAMES = ("released", "linen", "big_vision")

_PREFIXES = ("opt/target/", "params/img/", "img/", "params/",
             bit.PREFIX, "")
# One of these arrays every network has.
_FIRST = ("embedding/kernel", bit.ROOT)
# What stands beside the parameters in training checkpoints.
_STATE = re.compile(
    r"(opt|opt_state|state|states|extra|(params/)?txt|params_ema)/"
    r"|params/(t|b)$|(step|opt|extra|t|b)$")
_POSEMB_PLACES = (POSEMB, "Transformer/pos_embedding", "pos_embedding")
# Submodules of a block: number in the old files -> number in Linen.
_TO_LINEN = {
    "MultiHeadDotProductAttention_1": "MultiHeadDotProductAttention_0",
    "LayerNorm_2": "LayerNorm_1",
    "MlpBlock_3": "MlpBlock_0",
}
_TO_RELEASED = {new: old for old, new in _TO_LINEN.items()}
_BLOCK = re.compile(r"(Transformer/encoderblock(?:_\d+)?)/([^/]+)/(.*)")
_STACKED = "Transformer/encoderblock/"
_GROUP_NORM = re.compile(r"(gn_root|block\d+/unit\d+/gn\w+)/(scale|bias)")


def parameter_names(names: list[str], source: str = "weights") -> list[str]:
  """Returns the names to read: all but optimiser state and other towers.

  What is left out is counted in a warning. Names of no known kind stay in, to
  be reported with everything else that does not fit.
  """
  prefix = _prefix(names, source)
  # params/img/ is inside params/, whose other parts are another tower's.
  kept = [name for name in names
          if prefix and name.startswith(prefix) or not _STATE.match(name)]
  ignored = [name for name in names if name not in set(kept)]
  if ignored:
    logging.warning("%s: ignored %d arrays beside the parameters (optimiser "
                    "state, another tower): %s", source, len(ignored),
                    listed(ignored))
  return kept


def normalise(
    flat: Mapping[str, np.ndarray], source: str = "weights"
) -> tuple[dict[str, np.ndarray], str]:
  """Returns parameters under the model's names, and the dialect they were in.

  Values are float32 and share memory with the input where nothing changed.
  The dialect is one of NAMES, followed by what else is particular:
  "released", "released opt/target/", "big_vision params/ stacked".

  Args:
    flat: arrays under the names of the file.
    source: the file's name, for messages.

  Raises:
    CheckpointError: there is no network of this package in `flat`.
  """
  prefix = _prefix(list(flat), source)
  flat = {name.removeprefix(prefix): flat[name]
          for name in parameter_names(list(flat), source)}
  dialect, traits = "linen", [prefix] if prefix else []
  if any(_rename(name, _TO_LINEN) != name for name in flat):
    dialect = "released"
  if any(name.startswith(_STACKED) for name in flat):
    traits.append("stacked")
  if "pos_embedding" in flat:
    dialect = "big_vision"
  narrow = {a.dtype.name for a in flat.values()} - {"float32"}
  traits += sorted(narrow)
  flat = {_rename(name, _TO_LINEN): _plain(name, a)
          for name, a in flat.items()}
  if bit.matches(flat):
    dialect = "released" if prefix == bit.PREFIX else "linen"
    flat = bit.decode(flat)
  flat = _place_posemb(unstack(flat))
  if narrow:
    logging.warning("%s: arrays in %s became float32", source,
                    ", ".join(sorted(narrow)))
  return flat, " ".join([dialect, *traits])


def encode(
    flat: Mapping[str, np.ndarray], dialect: str
) -> dict[str, np.ndarray]:
  """Returns parameters under a dialect's names: normalise, the other way."""
  dialect = dialect.split()[0]
  if dialect not in NAMES:
    raise CheckpointError(
        f"unknown dialect {dialect!r}: one of {', '.join(NAMES)} was expected"
        + suggest(dialect, NAMES))
  flat = {name: _plain(name, a) for name, a in flat.items()}
  if bit.matches(flat):
    if dialect == "big_vision":
      raise CheckpointError(
          "a ResNet has no names in big_vision's dialect here; choose released "
          "or linen")
    return bit.encode(flat) if dialect == "released" else flat
  if dialect == "released":
    return {_rename(name, _TO_RELEASED):
            a.reshape(1, 1, 1, -1) if _GROUP_NORM.fullmatch(name) else a
            for name, a in flat.items()}
  if dialect == "big_vision":
    if POSEMB in flat:
      posemb = flat.pop(POSEMB)
      if "cls" in flat:
        flat["cls"] = flat["cls"] + posemb[:, :1]
        posemb = posemb[:, 1:]
      flat["pos_embedding"] = posemb
    return {f"params/{name}": a for name, a in flat.items()}
  return flat


def unstack(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns one entry a block, as views, for blocks stacked on axis 0."""
  single = {}
  for name, array in flat.items():
    if not name.startswith(_STACKED):
      single[name] = array
      continue
    rest = name.removeprefix(_STACKED)
    for i, row in enumerate(np.asarray(array)):
      single[f"Transformer/encoderblock_{i}/{rest}"] = row
  return single


def stack(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns blocks stacked on axis 0 under Transformer/encoderblock/."""
  rows, stacked = {}, {}
  for name, array in flat.items():
    match = re.fullmatch(r"Transformer/encoderblock_(\d+)/(.*)", name)
    if match:
      rows.setdefault(match[2], {})[int(match[1])] = array
    else:
      stacked[name] = array
  for rest, arrays in rows.items():
    stacked[_STACKED + rest] = np.stack([arrays[i] for i in sorted(arrays)])
  return stacked


def _prefix(names: list[str], source: str = "") -> str:
  """Returns what stands before `embedding/kernel`, or raises."""
  for prefix in _PREFIXES:
    if any(f"{prefix}{first}" in names for first in _FIRST):
      return prefix
  # A file without the patch embedding: the prefix under which most names are,
  # so that the complete report can follow.
  for prefix in _PREFIXES:
    if any(name.startswith(f"{prefix}Transformer/") for name in names):
      return prefix
  raise CheckpointError(
      f"{source}: no Vision Transformer: neither embedding/kernel nor "
      f"Transformer/ among its {len(names)} arrays ({listed(names)}); give "
      "the weights of a ViT")


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


def _place_posemb(flat: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the position embedding in its place, with a row for `cls`."""
  place = next((p for p in _POSEMB_PLACES if p in flat), None)
  if place is None:
    return flat
  posemb = flat.pop(place)
  if "cls" in flat and posemb.ndim == 3 and _is_folded(place, posemb.shape[1]):
    # `cls` already holds its position row: what is added must be zero.
    posemb = np.concatenate([np.zeros_like(posemb[:, :1]), posemb], axis=1)
  return flat | {POSEMB: posemb}


def _is_folded(place: str, rows: int) -> bool:
  """Whether a position embedding lacks the row of the class token."""
  if place != "Transformer/pos_embedding":
    return place == "pos_embedding"
  return math.isqrt(rows) ** 2 == rows  # written both ways: square means grid

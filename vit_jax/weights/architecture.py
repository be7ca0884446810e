"""Reads a network's architecture off the shapes of its parameters."""

from collections.abc import Mapping
import re
from typing import Any

import numpy as np

from vit_jax.errors import CheckpointError
from vit_jax.models.block import SHOWN_BY
from vit_jax.models.network import Network
from vit_jax.models.resnet_stem import ROOT_FEATURES
from vit_jax.models.variants import NETWORKS, network_of
from vit_jax.weights import posemb_grid
from vit_jax.weights.names import bit

# The arrays that tell the sizes, and how many dimensions they have.
_TELLING = {
    "embedding/kernel": 4,
    "{block}MultiHeadDotProductAttention_0/query/kernel": 3,
    "{block}MlpBlock_0/Dense_0/kernel": 2,
}
# What the arrays show in part: a fixed position embedding leaves no trace.
_PARTLY_SEEN = ("posemb", "posemb_at")


def build(architecture: Mapping[str, Any], **compute: Any) -> Network:
  """Returns the network of what `Network.architecture` or `infer` returned.

  Args:
    architecture: keyword arguments of the network.
    **compute: dtype, attention, scan, remat and the like, or another
      num_classes. Options that the network does not take are left out.

  Raises:
    TypeError: no network takes an option.
  """
  network = network_of(architecture)
  known = set().union(*map(_arguments, NETWORKS.values()))
  if unknown := set(compute) - known:
    raise TypeError(f"no network has the argument {sorted(unknown)[0]!r}")
  taken = {k: v for k, v in compute.items() if k in _arguments(network)}
  return network(**{**architecture, **taken})


def _arguments(network: type[Network]) -> set[str]:
  """Returns the keyword arguments of a network."""
  return {*network.architecture_keys(), *network.options}


def complete(
    found: Mapping[str, Any], described: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns an architecture with what only a description can tell.

  Args:
    found: what `infer` returned, without "image_size".
    described: such as the "architecture" of a model.json; what the arrays
      show is not taken from it.
  """
  keys = network_of(found).architecture_keys()
  unseen = {
      key: value for key, value in described.items()
      if key in keys and (key not in found or key in _PARTLY_SEEN)
      and (key != "stem_eps" or found["resnet"] is not None)}
  return {**found, **unseen}


def infer(
    flat: Mapping[str, np.ndarray],
    image_size: tuple[int, int] | None = None,
    grid: tuple[int, int] | None = None,
    source: str = "weights",
) -> dict[str, Any]:
  """Returns keyword arguments of the network, and "image_size".

  Args:
    flat: parameters under the model's names (see dialects.normalise).
    image_size: (height, width) in pixels that the position embedding belongs
      to.
    grid: (rows, columns) of the position embedding, where image_size is not
      known; without either a square grid is assumed.
    source: the file's name, for messages.

  Returns:
    The `architecture` of the network but for what no array shows, such as the
    form of GELU, and image_size, which is None where no position embedding
    tells it.

  Raises:
    CheckpointError: arrays that tell the architecture are missing, have
      another number of dimensions, or the grid is not square.
  """
  if bit.matches(flat):
    return _resnet_baseline(flat) | {"image_size": image_size}
  found = _vision_transformer(flat, source)
  if image_size is None:
    grid = grid or posemb_grid.grid(flat, source)
  if image_size is None and grid is not None:
    image_size = (grid[0] * _stride(found, 0), grid[1] * _stride(found, 1))
  return found | {"image_size": image_size}


def _resnet_baseline(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Returns keyword arguments of BiTResNet."""
  units: dict[int, int] = {}
  for name in flat:
    match = re.match(r"block(\d+)/unit(\d+)/", name)
    if match:
      stage = int(match[1])
      units[stage] = max(units.get(stage, 0), int(match[2]))
  return dict(
      units=tuple(units[stage] for stage in sorted(units)),
      width_factor=flat[bit.ROOT].shape[-1] // ROOT_FEATURES,
      num_classes=_last_axis(flat, "head"))


def _vision_transformer(
    flat: Mapping[str, np.ndarray], source: str
) -> dict[str, Any]:
  """Returns keyword arguments of VisionTransformer."""
  depth = 1 + max(_numbers(flat, r"Transformer/encoderblock_(\d+)/"),
                  default=0)
  # An axial block has the parameters of a global one twice.
  axial = any("/rows/" in name for name in flat)
  inside = "rows/" if axial else ""
  blocks = [f"Transformer/encoderblock_{i}/{inside}" for i in range(depth)]
  embedding, query, mlp = _shapes(flat, blocks, source)
  units, width = None, 1.0
  if "conv_root/kernel" in flat:
    units = tuple(
        max(_numbers(flat, rf"block{stage}/unit(\d+)/"), default=1)
        for stage in range(
            1, 1 + max(_numbers(flat, r"block(\d+)/"), default=0)))
    width = flat["conv_root/kernel"].shape[-1] / ROOT_FEATURES
  pooling = "gap"
  if "cls" in flat:
    pooling = "cls"
  elif any(name.startswith("MAPHead_0/") for name in flat):
    pooling = "map"
  posemb, posemb_at = posemb_grid.kind(flat)
  return dict(
      patch_size=embedding[:2], width=embedding[3], depth=depth,
      mlp_dim=mlp[1], num_heads=query[1], resnet=units,
      resnet_width=width, pooling=pooling,
      pre_logits=_last_axis(flat, "pre_logits"),
      **{field: any(f"{block}{name}" in flat for block in blocks)
         for field, name in SHOWN_BY.items()},
      block="axial" if axial else "global", posemb=posemb, posemb_at=posemb_at,
      num_classes=_last_axis(flat, "head"))


def contradictions(
    said: Mapping[str, Any], found: Mapping[str, Any]
) -> list[str]:
  """Returns "width: 64 said, 48 found" where a description is not the arrays'.

  Args:
    said: the "architecture" of a model.json.
    found: what `infer` returned.
  """
  def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

  return [
      f"{key}: {plain(said[key])} said, {plain(value)} found"
      for key, value in found.items()
      if key in said and key not in _PARTLY_SEEN
      and plain(said[key]) != plain(value)]


def _stride(found: Mapping[str, Any], axis: int) -> int:
  """Returns how many pixels of a side make one token."""
  stride = found["patch_size"][axis]
  if found["resnet"] is None:
    return stride
  return stride * 4 * 2 ** max(0, len(found["resnet"]) - 1)


def _shapes(
    flat: Mapping[str, np.ndarray], blocks: list[str], source: str
) -> list[tuple[int, ...]]:
  """Returns the shapes of _TELLING, of the first block that has them."""
  shapes, problems = [], []
  for name, ndim in _TELLING.items():
    names = [name.format(block=block) for block in blocks]
    found = [flat[n].shape for n in names if n in flat]
    fitting = [shape for shape in found if len(shape) == ndim]
    shapes += fitting[:1]
    if not fitting:
      state = f"of shape {found[0]}" if found else "missing"
      problems.append(f"{names[0]} is {state}, {ndim} dimensions were "
                      "expected")
  if problems:
    raise CheckpointError(
        f"{source}: not the weights of a ViT that this package knows: "
        f"{'; '.join(problems)}; vit_jax inspect shows what the file holds")
  return shapes


def _last_axis(flat: Mapping[str, np.ndarray], module: str) -> int:
  """Returns the width of a dense layer, 0 where there is none."""
  for name in (f"{module}/kernel", f"{module}/bias"):
    if name in flat and flat[name].ndim:
      return flat[name].shape[-1]
  return 0


def _numbers(flat: Mapping[str, np.ndarray], pattern: str) -> list[int]:
  """Returns the numbers that a pattern finds at the start of names."""
  return [int(m[1]) for m in map(re.compile(pattern).match, flat) if m]

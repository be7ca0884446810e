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

# The arrays whose shapes show the sizes, and their numbers of dimensions.
_SIZED = {
    "embedding/kernel": 4,
    "{block}MultiHeadDotProductAttention_0/query/kernel": 3,
    "{block}MlpBlock_0/Dense_0/kernel": 2,
}
_FINAL_NORMS = {"tokens": "Transformer/encoder_norm/scale",
                "pooled": "pooled_norm/scale"}
# What no array shows: details of the computation.
NUMERICS = ("gelu", "ln_eps", "stem_eps")
# What the arrays show in part: a fixed position embedding leaves no trace.
_PARTLY_SEEN = ("posemb", "posemb_at")


def build_network(architecture: Mapping[str, Any], **compute: Any) -> Network:
  """Returns the network of an architecture, as `add_unseen` returns it.

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


def add_unseen(
    inferred: Mapping[str, Any], stated: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns the whole architecture: what arrays show, and what they cannot.

  Args:
    inferred: what `infer_architecture` returned.
    stated: arguments from a description. Those that the arrays show are
      ignored, see `contradictions`.
  """
  keys = network_of(inferred).architecture_keys()
  unseen = {
      key: value for key, value in stated.items()
      if key in keys and (key not in inferred or key in _PARTLY_SEEN)
      and (key != "stem_eps" or inferred["resnet"] is not None)}
  return {**inferred, **unseen}


def infer_architecture(
    flat: Mapping[str, np.ndarray],
    image_size: tuple[int, int] | None = None,
    grid: tuple[int, int] | None = None,
    source: str = "weights",
) -> tuple[dict[str, Any], tuple[int, int] | None]:
  """Returns the arguments of the network that the arrays show, and the size.

  Args:
    flat: parameters under the model's names (see `Codec.decode`).
    image_size: (height, width) in pixels that the position embedding belongs
      to.
    grid: (rows, columns) of the position embedding, where image_size is not
      known; without either a square grid is assumed.
    source: the file's name, for messages.

  Returns:
    The `architecture` of the network but for what no array shows, such as the
    form of GELU.
    The image size, None where no position embedding shows it.

  Raises:
    CheckpointError: arrays that show the architecture are missing, have
      another number of dimensions, or the grid is not square.
  """
  if bit.matches(flat):
    return _resnet_baseline(flat), image_size
  inferred = _vision_transformer(flat, source)
  if image_size is None:
    grid = grid or posemb_grid.patch_grid(flat, source)
    if grid is not None:
      height, width = token_stride(flat)
      image_size = (grid[0] * height, grid[1] * width)
  return inferred, image_size


def token_stride(flat: Mapping[str, np.ndarray]) -> tuple[int, int]:
  """Returns how many pixels of height and width make one token."""
  units, _ = _stem(flat)
  stem = 1 if units is None else 4 * 2 ** max(0, len(units) - 1)
  height, width = (*flat["embedding/kernel"].shape, 1, 1)[:2]
  return height * stem, width * stem


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
  attention = "rows/" if axial else ""
  blocks = [f"Transformer/encoderblock_{i}/{attention}" for i in range(depth)]
  embedding, query, mlp = _shapes(flat, blocks, source)
  units, width = _stem(flat)
  posemb, posemb_at = posemb_grid.posemb_kind(flat)
  return dict(
      patch_size=embedding[:2], width=embedding[3], depth=depth,
      mlp_dim=mlp[1], num_heads=query[1],
      head_dim=None if query[1] * query[2] == query[0] else query[2],
      resnet=units,
      resnet_width=width, pooling=_pooling(flat),
      pre_logits=_last_axis(flat, "pre_logits"),
      registers=posemb_grid.num_prefix(flat) - ("cls" in flat),
      distilled="head_dist/kernel" in flat,
      pre_norm="Transformer/pre_norm/scale" in flat,
      final_norm=next((kind for kind, name in _FINAL_NORMS.items()
                       if name in flat), "none"),
      **{field: any(f"{block}{name}" in flat for block in blocks)
         for field, name in SHOWN_BY.items()},
      block="axial" if axial else "global", posemb=posemb, posemb_at=posemb_at,
      num_classes=_last_axis(flat, "head"))


def contradictions(
    stated: Mapping[str, Any], inferred: Mapping[str, Any]
) -> list[str]:
  """Returns "width is 64, but 48 in the arrays" where the two differ.

  Args:
    stated: the "architecture" of a model.json.
    inferred: what `infer_architecture` returned.
  """
  def as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

  return [
      f"{key} is {as_list(stated[key])}, but {as_list(value)} in the arrays"
      for key, value in inferred.items()
      if key in stated and key not in _PARTLY_SEEN
      and as_list(stated[key]) != as_list(value)]


def _stem(
    flat: Mapping[str, np.ndarray]
) -> tuple[tuple[int, ...] | None, float]:
  """Returns the units of the ResNet stem's stages, None for none, and width."""
  if "conv_root/kernel" not in flat:
    return None, 1.0
  stages = max(_numbers(flat, r"block(\d+)/"), default=0)
  units = tuple(
      max(_numbers(flat, rf"block{stage}/unit(\d+)/"), default=1)
      for stage in range(1, stages + 1))
  root = flat["conv_root/kernel"].shape[-1]
  return units, root / ROOT_FEATURES


def _pooling(flat: Mapping[str, np.ndarray]) -> str:
  """Returns how tokens become the head's input."""
  if "cls" in flat:
    head, width = flat.get("head/kernel"), flat["cls"].shape[-1]
    doubled = head is not None and head.shape[:1] == (2 * width,)
    return "cls_gap" if doubled and "pre_logits/kernel" not in flat else "cls"
  return "map" if any(n.startswith("MAPHead_0/") for n in flat) else "gap"


def _shapes(
    flat: Mapping[str, np.ndarray], blocks: list[str], source: str
) -> list[tuple[int, ...]]:
  """Returns the shapes of _SIZED, of the first block that has them."""
  shapes: list[tuple[int, ...]] = []
  problems = []
  for name, ndim in _SIZED.items():
    names = [name.format(block=block) for block in blocks]
    candidates = [flat[n].shape for n in names if n in flat]
    fitting = [shape for shape in candidates if len(shape) == ndim]
    shapes += fitting[:1]
    if not fitting:
      state = f"of shape {candidates[0]}" if candidates else "missing"
      problems.append(f"{names[0]} is {state}, {ndim} dimensions were "
                      "expected")
  if problems:
    raise CheckpointError(
        f"{source}: not the weights of a ViT that this package supports: "
        f"{'; '.join(problems)}; vit_jax inspect shows what the file holds")
  return shapes


def _last_axis(flat: Mapping[str, np.ndarray], module: str) -> int:
  """Returns the width of a dense layer, 0 where there is none."""
  for name in (f"{module}/kernel", f"{module}/bias"):
    if name in flat and flat[name].ndim:
      return flat[name].shape[-1]
  return 0


def _numbers(flat: Mapping[str, np.ndarray], pattern: str) -> list[int]:
  """Returns the numbers in the names that begin with a pattern."""
  return [int(m[1]) for m in map(re.compile(pattern).match, flat) if m]

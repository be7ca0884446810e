"""What the input layers have learned (figures 7 and 10), as arrays."""

from collections.abc import Mapping, Sequence
import math
from typing import Any

from jaxtyping import Float
import numpy as np

from vit_jax.errors import UsageError
from vit_jax.models.posemb import (
    FIXED,
    IN_ATTENTION,
    TABLES,
    PositionEmbedding,
)
from vit_jax.models.resnet_stem import STEM_EPS
from vit_jax.models.vit import VisionTransformer
from vit_jax.weights.trees import flatten, unflatten


def pixel_filters(
    model: VisionTransformer, params: Mapping[str, Any]
) -> Float[np.ndarray, "y x c d"]:
  """Returns the filters that are applied to pixels.

  The patch embedding. In a hybrid, whose patches consist of a ResNet's channels
  and cannot be shown as colours: the first convolution, standardised as the
  stem does.
  """
  if model.resnet is None:
    return np.asarray(params["embedding"]["kernel"], np.float32)
  kernel = np.asarray(params["conv_root"]["kernel"], np.float32)
  centred = kernel - kernel.mean(axis=(0, 1, 2))
  to_deviation, to_variance, _ = STEM_EPS[model.stem_eps]
  variance = np.mean(np.square(centred), axis=(0, 1, 2))
  return centred / (to_deviation + np.sqrt(variance + to_variance))


def filter_components(
    filters: Float[np.ndarray, "y x c d"], count: int = 28
) -> tuple[Float[np.ndarray, "k y x c"], Float[np.ndarray, " k"]]:
  """Returns the first principal components of filters (figure 7, left).

  The d filters are the examples; their mean is subtracted. The sign of a
  component is arbitrary; here its largest value is positive.

  Args:
    filters: a convolution's kernel.
    count: of components; at most the number of dimensions, or of filters less
      one.

  Returns:
    Components of length one, the most important first, and the share of the
    variance that each explains.
  """
  examples = filters.reshape(-1, filters.shape[-1]).T.astype(np.float64)
  examples = examples - examples.mean(axis=0)
  _, sizes, components = np.linalg.svd(examples, full_matrices=False)
  count = min(count, len(examples) - 1, examples.shape[1])
  components = components[:count]
  peaks = np.abs(components).argmax(axis=1)
  components *= np.sign(components[np.arange(count), peaks])[:, None]
  share = sizes**2 / max(np.sum(sizes**2), np.finfo(np.float64).tiny)
  return (components.reshape(count, *filters.shape[:-1]).astype(np.float32),
          share[:count].astype(np.float32))


def position_tables(
    model: VisionTransformer, params: Mapping[str, Any],
    image_size: Sequence[int],
) -> dict[str, Float[np.ndarray, "rows cols d"]]:
  """Returns the position embedding of every patch, by where it is added.

  The names are "stem", "layers_shared", or "block 0", "block 1", ... if every
  block has a table of its own. The class token's row is left out.

  Raises:
    UsageError: the network has no table: no position embedding, or a relative
      one.
  """
  if model.posemb not in TABLES:
    why = ("its embeddings belong to offsets between two tokens, inside the "
           "attention of every block" if model.posemb in IN_ATTENTION else
           "the network does not know where a patch is")
    raise UsageError(
        f"model.posemb={model.posemb!r} has no embedding of a position to "
        f"compare: {why}")
  grid = model.grid(image_size)
  if model.posemb in FIXED:
    return {model.posemb_at: _table(model, {}, grid)}
  arrays: dict[str, dict[str, np.ndarray]] = {}  # by module, then name
  for name, array in flatten(params).items():
    module, found, rest = name.partition("posembed_input/")
    if found:
      arrays.setdefault(module, {})[rest] = np.asarray(array)
  if model.posemb_at != "layers":
    (own,) = arrays.values()
    return {model.posemb_at: _table(model, own, grid)}
  blocks = {int(module.split("/")[1].removeprefix("encoderblock_")): own
            for module, own in arrays.items()}
  return {f"block {i}": _table(model, blocks[i], grid) for i in sorted(blocks)}


def _table(
    model: VisionTransformer, arrays: Mapping[str, np.ndarray],
    grid: tuple[int, int],
) -> Float[np.ndarray, "rows cols d"]:
  """Returns the embedding of each patch, for a table of any kind."""
  patches = math.prod(grid)
  tokens = patches + model.prefix_tokens
  table = PositionEmbedding(model.posemb, grid).apply(
      {"params": unflatten(dict(arrays))}, tokens, model.width)
  return np.reshape(
      np.asarray(table)[0, -patches:], (*grid, model.width))


def position_similarity(
    table: Float[np.ndarray, "rows cols d"]
) -> Float[np.ndarray, "rows cols rows cols"]:
  """Returns the cosine similarity of all pairs of positions (figures 7, 10).

  An embedding of zeros has similarity 0 to all.
  """
  flat = table.reshape(-1, table.shape[-1]).astype(np.float64)
  lengths = np.linalg.norm(flat, axis=1, keepdims=True)
  unit = flat / np.where(lengths > 0, lengths, 1)
  similarity = np.clip(unit @ unit.T, -1, 1)
  grid = table.shape[:2]
  return similarity.reshape(*grid, *grid).astype(np.float32)

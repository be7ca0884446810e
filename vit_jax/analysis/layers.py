"""What networks make of the same pictures, layer by layer.

Two questions that Raghu et al. (arXiv 2108.08810) put to ViTs and ResNets:
which layers of the two compute alike, and how long a layer still knows where in
the picture a feature belongs.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import itertools
import math
import re
from typing import TYPE_CHECKING, Any

import jax
from jaxtyping import Array, Float
import numpy as np

from vit_jax.errors import DataError
from vit_jax.models.vit import VisionTransformer

if TYPE_CHECKING:
  from vit_jax.weights.loaded import Loaded

_LAYER = re.compile(r"(embedded|block\d+|stage\d+)")
# Places kept of a layer, on a side, evenly spread: a network's layers of some
# hundred pictures stay below a gigabyte or two, and neighbours look alike.
MOST_PLACES = 8
_RIDGE = 1e-3  # of the mean eigenvalue
_HELD_OUT = 5  # every fifth picture


@dataclasses.dataclass(frozen=True)
class Layers:
  """What a network made of some pictures.

  Attributes:
    names: of the layers, from the input on.
    features: by layer; a ViT's patches, without class token, or a ResNet's map,
      at MOST_PLACES rows and columns at most.
  """

  names: tuple[str, ...]
  features: tuple[Float[np.ndarray, "n _ _ _"], ...]


def read_layers(
    loaded: "Loaded", contents: Iterable[Any], batch_size: int = 8
) -> Layers:
  """Runs a network over pictures and keeps what its layers compute.

  Args:
    loaded: see `vit_jax.load`.
    contents: what `loaded.preprocess` takes.
    batch_size: the last batch is filled up, so that one compile is enough.

  Raises:
    DataError: a picture cannot be read, or there are fewer than eight: neither
      question has an answer then.
  """
  model, size = loaded.model, loaded.config["image_size"]

  @jax.jit
  def run(
      params: Any, pixels: Float[Array, "b h w 3"]
  ) -> dict[str, Float[Array, "b _ _ _"]]:
    _, aux = model.apply({"params": params}, pixels)
    return {name: _spread(_as_map(model, value, size))
            for name, value in aux.items() if _LAYER.fullmatch(name)}

  parts: dict[str, list[np.ndarray]] = {}
  pictures, count = iter(contents), 0
  while batch := [loaded.preprocess(content)[0]
                  for content in itertools.islice(pictures, batch_size)]:
    count += len(batch)
    pixels = np.zeros((batch_size, *size, 3), np.float32)
    pixels[:len(batch)] = batch
    for name, values in run(loaded.params, pixels).items():
      parts.setdefault(name, []).append(
          np.asarray(values, np.float32)[:len(batch)])
  if count < 8:
    raise DataError(f"{count} pictures are too few to compare layers; give "
                    "some hundred")
  names = sorted(parts, key=_depth)
  return Layers(
      tuple(names), tuple(np.concatenate(parts[name]) for name in names))


def similarity(
    one: Layers, other: Layers) -> Float[np.ndarray, "layers others"]:
  """Returns the linear CKA of each layer of one network and of the other.

  Raises:
    ValueError: they saw different numbers of pictures.
  """
  if len(one.features[0]) != len(other.features[0]):
    raise ValueError("the networks saw different pictures")
  grams = [[_gram(x) for x in layers.features] for layers in (one, other)]
  return np.array([[_alignment(x, y) for y in grams[1]] for x in grams[0]])


def place_accuracies(layers: Layers) -> tuple[list[float], float]:
  """Returns how often a feature's place can be read off it, by layer.

  A linear classifier (ridge regression onto one-hot places) is fitted on four
  pictures in five and scored on the others.

  Returns:
    Accuracy by layer, and that of guessing at the layer with fewest places.
  """
  found = [_place_accuracy(x) for x in layers.features]
  return [accuracy for accuracy, _ in found], max(
      1 / places for _, places in found)


def _as_map(
    model: Any, values: Float[Array, "b ..."], size: Sequence[int]
) -> Float[Array, "b rows cols d"]:
  if not isinstance(model, VisionTransformer):
    return values
  rows, cols = model.grid(size)
  return values[:, -rows * cols:].reshape(
      len(values), rows, cols, values.shape[-1])


def _spread(
    features: Float[Array, "b rows cols d"]) -> Float[Array, "b _ _ d"]:
  """Returns the features at MOST_PLACES rows and columns, evenly spread."""
  rows, cols = (
      np.linspace(0, side - 1, min(side, MOST_PLACES)).round().astype(int)
      for side in features.shape[1:3])
  return features[:, rows][:, :, cols]


def _depth(name: str) -> int:
  """Returns a layer's place in the order; "embedded" comes first."""
  digits = re.search(r"\d+", name)
  return int(digits[0]) if digits else -1


def _gram(
    features: Float[np.ndarray, "n rows cols d"]) -> Float[np.ndarray, "n n"]:
  """Returns the inner products of the pictures, without the diagonal."""
  flat = features.reshape(len(features), -1).astype(np.float64)
  flat -= flat.mean(axis=0)
  gram = flat @ flat.T
  np.fill_diagonal(gram, 0)
  return gram


def _alignment(
    one: Float[np.ndarray, "n n"], other: Float[np.ndarray, "n n"]) -> float:
  """Returns CKA from Gram matrices: HSIC(K, L) over the root of their own.

  In the unbiased form of Song et al. (2012), as Nguyen et al. (arXiv
  2010.15327) use it: with few pictures and wide layers the plain form is near
  one for features that have nothing in common.
  """
  own = _hsic(one, one) * _hsic(other, other)
  return _hsic(one, other) / math.sqrt(own) if own > 0 else 0.0


def _hsic(
    one: Float[np.ndarray, "n n"], other: Float[np.ndarray, "n n"]) -> float:
  n = len(one)
  sums = one.sum(axis=0), other.sum(axis=0)
  return float(
      (one * other).sum() + sums[0].sum() * sums[1].sum() / ((n - 1) * (n - 2))
      - 2 * (sums[0] @ sums[1]) / (n - 2)) / (n * (n - 3))


def _place_accuracy(
    features: Float[np.ndarray, "n rows cols d"]) -> tuple[float, int]:
  """Returns the accuracy, and the number of places."""
  n, rows, cols, width = features.shape
  places = rows * cols
  picked = features.astype(np.float64).reshape(n, places, width)
  held_out = np.arange(n) % _HELD_OUT == 0
  fitted, scored = picked[~held_out], picked[held_out]
  mean = fitted.mean(axis=(0, 1))
  x = (fitted - mean).reshape(-1, width)
  covariance = x.T @ x
  covariance += np.eye(width) * max(
      _RIDGE * np.trace(covariance) / width, np.finfo(np.float64).tiny)
  # One-hot targets: their products with the features are sums by place.
  by_place = (fitted - mean).sum(axis=0)
  weights = np.linalg.solve(covariance, by_place.T)
  found = np.argmax((scored - mean) @ weights, axis=-1)
  return float(np.mean(found == np.arange(places))), places

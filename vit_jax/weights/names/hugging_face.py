"""The names of transformers' ViT, both ways.

Files carry the names of ViTForImageClassification ("vit." before the body) or
of ViTModel (nothing before it). Newer versions of transformers name the parts
of a layer in another way in memory; both are read, and the names of files
that every version understands are written.
"""

from collections.abc import Iterable, Mapping
import re

from absl import logging
import numpy as np

from vit_jax.errors import CheckpointError
from vit_jax.weights.names.flax import POSEMB
from vit_jax.weights.names.torch_shapes import (
    OUR_NUMBERS,
    from_torch,
    rename,
    to_torch,
)

_BLOCK = "Transformer/encoderblock_#"
_ATTENTION = f"{_BLOCK}/MultiHeadDotProductAttention_0"
_LAYER = "encoder.layer.#"
_ARRAYS = {
    "cls": "embeddings.cls_token",
    POSEMB: "embeddings.position_embeddings",
}
_MODULES = {
    "embedding": "embeddings.patch_embeddings.projection",
    "Transformer/encoder_norm": "layernorm",
    "pre_logits": "pooler.dense",
    "head": "classifier",
    f"{_ATTENTION}/query": f"{_LAYER}.attention.attention.query",
    f"{_ATTENTION}/key": f"{_LAYER}.attention.attention.key",
    f"{_ATTENTION}/value": f"{_LAYER}.attention.attention.value",
    f"{_ATTENTION}/out": f"{_LAYER}.attention.output.dense",
    f"{_BLOCK}/LayerNorm_0": f"{_LAYER}.layernorm_before",
    f"{_BLOCK}/LayerNorm_1": f"{_LAYER}.layernorm_after",
    f"{_BLOCK}/MlpBlock_0/Dense_0": f"{_LAYER}.intermediate.dense",
    f"{_BLOCK}/MlpBlock_0/Dense_1": f"{_LAYER}.output.dense",
}
# What transformers 5 calls them in memory: our modules again.
_NEWER = {
    f"{_ATTENTION}/query": "layers.#.attention.q_proj",
    f"{_ATTENTION}/key": "layers.#.attention.k_proj",
    f"{_ATTENTION}/value": "layers.#.attention.v_proj",
    f"{_ATTENTION}/out": "layers.#.attention.o_proj",
    f"{_BLOCK}/LayerNorm_0": "layers.#.layernorm_before",
    f"{_BLOCK}/LayerNorm_1": "layers.#.layernorm_after",
    f"{_BLOCK}/MlpBlock_0/Dense_0": "layers.#.mlp.fc1",
    f"{_BLOCK}/MlpBlock_0/Dense_1": "layers.#.mlp.fc2",
}
_NUMBERS = re.compile(r"(?<=\blayer\.)\d+|(?<=\blayers\.)\d+")
_BODY = "vit."
_PROJECTION = f"{_MODULES['embedding']}.weight"
# Fills masked patches in pre-training; no part of the network otherwise.
_MASK = "embeddings.mask_token"


def matches(names: Iterable[str]) -> bool:
  """Whether these are the names of a transformers ViT."""
  return any(name in names for name in (_PROJECTION, _BODY + _PROJECTION))


def width(theirs: Mapping[str, np.ndarray]) -> int:
  """Returns the width of the tokens."""
  return next(array.shape[0] for name, array in theirs.items()
              if name.removeprefix(_BODY) == _PROJECTION)


def encode(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns parameters under transformers' names and in its shapes.

  With a head, those of ViTForImageClassification; else of ViTModel, whose
  pooler is our pre_logits. A head of zeros on a pre_logits layer, as in the
  imagenet21k files, is left out with a warning.

  Raises:
    CheckpointError: transformers has no place for a parameter.
  """
  flat = dict(flat)
  if "pre_logits/kernel" in flat and "head/kernel" in flat:
    if flat["head/kernel"].any():
      raise CheckpointError(
          "transformers' ViTForImageClassification has no layer between body "
          "and head: drop pre_logits, or the head with num_classes=0, first")
    logging.warning("the head of %d classes, all zeros, was left out: "
                    "transformers has a pooler (pre_logits) or a head",
                    flat["head/kernel"].shape[-1])
    flat = {n: a for n, a in flat.items() if not n.startswith("head/")}
  for name, what in (("cls", "a class token"),
                     (POSEMB, "a learned position embedding")):
    if name not in flat:
      raise CheckpointError(
          f"transformers' ViT has {what}, this model has none: write timm's "
          "names or .npz instead")
  body = _BODY if "head/kernel" in flat else ""
  theirs = {}
  for name, array in flat.items():
    if name in _ARRAYS:
      theirs[body + _ARRAYS[name]] = array
      continue
    module, _, leaf = name.rpartition("/")
    new = rename(module, _MODULES, OUR_NUMBERS)
    if new is None:
      raise CheckpointError(
          f"{name} has no counterpart in transformers' ViT; write .npz instead")
    ending = ".bias" if leaf == "bias" else ".weight"
    start = "" if module == "head" else body
    theirs[start + new + ending] = to_torch(module, leaf, array)
  return theirs


def decode(
    theirs: Mapping[str, np.ndarray], num_heads: int, source: str = "weights"
) -> dict[str, np.ndarray]:
  """Returns transformers' parameters under the model's names, as views.

  Names that its ViT does not have are left as they are, to be reported with
  all other misfits.
  """
  table = {new: old for old, new in (*_MODULES.items(), *_NEWER.items())}
  arrays = {new: old for old, new in _ARRAYS.items()}
  flat = {}
  for name, array in theirs.items():
    bare = name.removeprefix(_BODY)
    if bare in arrays:
      flat[arrays[bare]] = array
      continue
    if bare == _MASK:
      logging.warning("%s: ignored %s, which only masked pre-training uses",
                      source, name)
      continue
    module, _, leaf = bare.rpartition(".")
    ours = rename(module, table, _NUMBERS)
    if ours is None or leaf not in ("weight", "bias"):
      flat[name] = array
      continue
    leaf, value = from_torch(ours, leaf, array, num_heads)
    flat[f"{ours}/{leaf}"] = value
  return flat

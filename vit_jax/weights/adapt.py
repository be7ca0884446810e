"""Fits parameters to a model: other resolution, other classes.

Fine-tuning keeps the patch size, interpolates the position embedding on its
two-dimensional grid, removes the pre-training head with its hidden layer, and
attaches a zero-initialised one (paper, section 3.2). Every array that fits
neither way is reported in one error.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from absl import logging
import chex
import jax
import jax.numpy as jnp

from vit_jax.config.sections import InitConfig
from vit_jax.errors import CheckpointError, UsageError, suggest
from vit_jax.models.network import Network
from vit_jax.weights import fit_layers, trees
from vit_jax.weights.fit_layers import Expected, Flat
from vit_jax.weights.mismatch_report import refuse_mismatches
from vit_jax.weights.posemb_resize import METHODS, Resized, fit_posemb

# Parts of a network that weights cannot do without.
_PARTS = ("registers", "layer_scale", "gated", "pre_norm", "final_norm",
          "qkv_bias", "qk_norm")
HEADS = ("auto", "keep", "reset")
PRE_LOGITS = ("auto", "keep", "drop")
_ZERO_HEAD = (
    "the head in the file is all zeros, as in the imagenet21k files: the "
    "logits mean nothing before fine-tuning")


@dataclasses.dataclass(frozen=True)
class AdaptReport:
  """What was done to the parameters; each part was also logged, once.

  Attributes:
    head: "kept", "reset" (zeros), "dropped" or "none".
    head_is_zero: the kernel in use is all zeros, so that the logits do not
      depend on the image.
    pre_logits: "kept", "added" (random), "dropped" or "none".
    resized: old grid, new grid and method of a resized position embedding.
    messages: one sentence for each change, as logged.
  """

  head: str = "none"
  head_is_zero: bool = False
  pre_logits: str = "none"
  resized: Resized | None = None
  messages: tuple[str, ...] = ()


def adapt(
    flat: Flat,
    model: Network,
    image_size: tuple[int, int],
    *,
    head: str = "auto",
    pre_logits: str = "auto",
    method: str = InitConfig.method,
    old_grid: tuple[int, int] | None = None,
    source: str = "weights",
) -> tuple[dict[str, Any], AdaptReport]:
  """Returns the model's parameter tree, made of `flat`, and what was changed.

  Args:
    flat: float32, under the model's names (`Codec.decode`); arrays that fit
      are used as they are, without a copy.
    model: the model they are for, blocks stacked (`scan`) or not.
    image_size: (height, width) in pixels of the images that it will see.
    head: "keep", "reset" (kernel zeros, bias `model.head_bias_init`), or
      "auto": kept if the number of classes is the model's, and pre_logits,
      on which it was trained, are neither dropped nor added.
    pre_logits: "keep", "drop", or "auto": kept where both the file and the
      model have the layer.
    method: how position embeddings are resized, see `fit_posemb`.
    old_grid: (rows, columns) of the position embedding in `flat`; without it
      the grid must be square.
    source: the file's name, for messages.

  Raises:
    CheckpointError: arrays are missing, superfluous, or of another shape or
      dtype; one message that names all of them.
    UsageError: an unknown value of head, pre_logits or method.
  """
  _check_choice("head", head, HEADS)
  _check_choice("method", method, METHODS)
  _check_choice("pre_logits", pre_logits, PRE_LOGITS)
  expected = expected_parameters(model, image_size)
  head_action, pre_logits_action = fit_layers.choose_actions(
      flat, expected, head, pre_logits)
  flat, pre_logits_note = fit_layers.fit_pre_logits(
      flat, expected, pre_logits_action)
  flat, head_note = fit_layers.fit_head(
      flat, expected, head_action, model.head_bias_init)
  flat, masked_note = fit_layers.drop_masked_patch(flat, expected)
  flat, resized = fit_posemb(
      flat, expected, model.grid(image_size), old_grid, method, source)
  _refuse_what_does_not_fit(flat, expected, source)
  is_zero = "head/kernel" in expected and not flat["head/kernel"].any()
  notes = (pre_logits_note, head_note, masked_note, _resize_note(resized),
           _ZERO_HEAD if is_zero and head_action == "kept" else None)
  messages = tuple(note for note in notes if note)
  for message in messages:
    logging.warning("%s: %s", source, message)
  tree = trees.unflatten(trees.stack_blocks(flat) if model.scan else flat)
  return tree, AdaptReport(
      head_action, is_zero, pre_logits_action, resized, messages)


def expected_parameters(
    model: Network, image_size: tuple[int, int]
) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns shape and dtype of every parameter, one entry for each block.

  Nothing is computed, and no memory allocated.
  """
  # Equal blocks are traced once, which saves a second for L/16.
  single, depth = model.one_block()
  images = jax.ShapeDtypeStruct((1, *image_size, 3), jnp.float32)
  tree = jax.eval_shape(single.init, jax.random.key(0), images)["params"]
  expected = {}
  for name, leaf in trees.flatten(tree).items():
    copies = depth if "encoderblock_0/" in name else 1
    for i in range(copies):
      expected[name.replace("encoderblock_0/", f"encoderblock_{i}/")] = leaf
  return expected


def expected_shapes(
    model: Network, image_size: tuple[int, int]
) -> dict[str, tuple[int, ...]]:
  """Returns the shape of every parameter, see `expected_parameters`."""
  return {name: leaf.shape
          for name, leaf in expected_parameters(model, image_size).items()}


def refuse_other_parts(
    architecture: Mapping[str, Any], model: Network, source: str
) -> None:
  """Raises CheckpointError with the keys of parts that a model lacks.

  Args:
    architecture: of a weights file.
    model: to be trained from it.
    source: the file's name, for messages.
  """
  keys = [f"--config.model.{key}={value}"
          for key, value in architecture.items()
          if key in _PARTS and value != getattr(model, key, value)]
  if keys:
    raise CheckpointError(
        f"{source} is of a network with other parts than the model; to begin "
        f"with it, set {' '.join(keys)}")


def refuse_what_no_network_has(
    flat: Flat, model: Network, image_size: tuple[int, int], source: str
) -> None:
  """Raises CheckpointError unless the arrays are all those of a model.

  Args:
    flat: the parameters; what only masked patch prediction has may be there.
    model: the network that they are of.
    image_size: (height, width) that their position embedding belongs to.
    source: the file's name, for messages.
  """
  expected = expected_parameters(model, image_size)
  flat, _ = fit_layers.drop_masked_patch(flat, expected)
  _refuse_what_does_not_fit(flat, expected, source)


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
  """Raises UsageError for an unknown value of an argument."""
  if value not in known:
    raise UsageError(
        f"init.{name}={value!r} is unknown{suggest(value, known)}; it is one "
        f"of {', '.join(known)}")


def _resize_note(resized: Resized | None) -> str | None:
  """Returns a sentence about resized position embeddings."""
  if resized is None:
    return None
  (rows, cols), (new_rows, new_cols), method = resized
  return (f"position embeddings resized from a grid of {rows}x{cols} to "
          f"{new_rows}x{new_cols} ({method})")


def _refuse_what_does_not_fit(
    flat: Flat, expected: Expected, source: str
) -> None:
  """Raises CheckpointError unless the arrays are the model's, all of them."""
  refuse_mismatches(
      flat, {name: leaf.shape for name, leaf in expected.items()}, source)
  try:
    chex.assert_trees_all_equal_shapes_and_dtypes(dict(flat), dict(expected))
  except AssertionError as error:
    raise CheckpointError(
        f"{source} does not fit the model: {' '.join(str(error).split())}; "
        "the parameters must be float32, as read_weights returns them"
    ) from None

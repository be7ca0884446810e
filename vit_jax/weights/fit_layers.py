"""Layers that fine-tuning keeps, drops, adds or resets.

Fine-tuning removes the pre-training head with its hidden layer, and attaches a
zero-initialised one (paper, section 3.2). `choose_actions` decides what becomes
of both; the other functions return the parameters after that and a note, which
is None where nothing changed. No argument is modified.
"""

from collections.abc import Mapping
import re

import jax
import numpy as np

from vit_jax.models.masked_vit import EXTRA_NAMES

_HEADS = r"head(_dist)?/"
Flat = Mapping[str, np.ndarray]  # parameters by flat name
Expected = Mapping[str, jax.ShapeDtypeStruct]  # those of the model


def choose_actions(
    flat: Flat, expected: Expected, head: str, pre_logits: str
) -> tuple[str, str]:
  """Returns what becomes of the head and of the hidden layer before it.

  Args:
    flat: the parameters.
    expected: those of the model.
    head: "auto", "keep" or "reset", see `adapt.adapt`.
    pre_logits: "auto", "keep" or "drop".

  Returns:
    "kept", "reset", "dropped" or "none" for the head; "kept", "added",
    "dropped" or "none" for pre_logits.
  """
  pre_logits_action = _choose_pre_logits(flat, expected, pre_logits)
  if head == "auto" and pre_logits_action in ("added", "dropped"):
    head = "reset"  # it was trained on another input
  return _choose_head(flat, expected, head), pre_logits_action


def fit_pre_logits(
    flat: Flat, expected: Expected, action: str
) -> tuple[Flat, str | None]:
  """Returns the parameters after `action`, and a note on it."""
  if action in ("kept", "none"):
    return flat, None
  has_layer = "pre_logits/kernel" in flat
  rest = _without(flat, "pre_logits/kernel", "pre_logits/bias")
  if action == "dropped":
    return rest, (
        "pre_logits, the hidden layer of pre-training, was dropped "
        "(pre_logits='keep' in a model with pre_logits keeps it)")
  shape = expected["pre_logits/kernel"].shape
  kernel = jax.nn.initializers.lecun_normal()(jax.random.key(0), shape)
  added = {"pre_logits/kernel": np.asarray(kernel),
           "pre_logits/bias": np.zeros(shape[-1], np.float32)}
  return rest | added, (
      "pre_logits was initialised at random (seed 0): the file has "
      + ("its own, which init.pre_logits='drop' leaves out" if has_layer
         else "none; model.pre_logits=False is the usual choice"))


def fit_head(
    flat: Flat, expected: Expected, action: str, bias: float
) -> tuple[Flat, str | None]:
  """Returns the parameters after `action`, and a note on it."""
  if action in ("kept", "none"):
    return flat, None
  classes = _num_classes(flat)
  if action == "dropped":
    rest = _without(flat, *(name for name in flat if re.match(_HEADS, name)))
    return rest, (f"the head of {classes} classes was dropped: the model "
                  "returns features (num_classes=0)")
  head = {
      name: np.full(
          leaf.shape, bias if name.endswith("bias") else 0, np.float32)
      for name, leaf in expected.items() if re.match(_HEADS, name)}
  old = "no head" if classes is None else f"a head of {classes} classes"
  rest = _without(flat, *(name for name in flat if re.match(_HEADS, name)))
  return rest | head, (
      "the head was reset to zeros, for "
      f"{expected['head/kernel'].shape[-1]} classes (the file has {old})")


def drop_masked_patch(
    flat: Flat, expected: Expected
) -> tuple[Flat, str | None]:
  """Drops what only masked patch prediction needs, unless the model does it."""
  extra = sorted(name for name in flat
                 if re.match(EXTRA_NAMES, name) and name not in expected)
  if not extra:
    return flat, None
  return _without(flat, *extra), (
      f"{len(extra)} arrays of masked patch prediction were dropped: "
      f"{', '.join(extra)}")


def _choose_pre_logits(flat: Flat, expected: Expected, choice: str) -> str:
  """Returns what becomes of the hidden tanh layer, see `choose_actions`."""
  in_file = "pre_logits/kernel" in flat
  in_model = "pre_logits/kernel" in expected
  if choice == "keep":  # a mismatch is reported later, with all others
    return "kept" if in_file or in_model else "none"
  if in_file and in_model and choice == "auto":
    return "kept"
  if in_model:
    return "added"
  return "dropped" if in_file else "none"


def _choose_head(flat: Flat, expected: Expected, choice: str) -> str:
  """Returns what becomes of the head, see `choose_actions`."""
  classes = _num_classes(flat)
  if "head/kernel" not in expected:
    return "none" if classes is None or choice == "keep" else "dropped"
  if choice == "keep" or (
      choice == "auto" and classes == expected["head/kernel"].shape[-1]):
    return "kept"
  return "reset"


def _num_classes(flat: Flat) -> int | None:
  """Returns the classes of the head in `flat`, None if there is no head."""
  head = flat.get("head/kernel", flat.get("head/bias"))
  return None if head is None or not head.ndim else head.shape[-1]


def _without(flat: Flat, *names: str) -> dict[str, np.ndarray]:
  """Returns the parameters without some of them."""
  return {name: array for name, array in flat.items() if name not in names}

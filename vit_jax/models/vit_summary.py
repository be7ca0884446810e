"""A Vision Transformer's architecture in words."""

from typing import Any

from vit_jax.models import posemb


def summary(model: Any) -> list[tuple[str, str]]:
  """Returns (label, text) rows, see `Network.summary`."""
  patch = "x".join(map(str, model.patch_size))
  rows = [(
      "model", f"{model.variant_name}: width {model.width}, depth "
      f"{model.depth}, MLP {model.mlp_dim}, heads {model.num_heads}, patches "
      f"{patch}")]
  if model.resnet is not None:
    units = ", ".join(map(str, model.resnet)) or "root only"
    rows.append(("ResNet stem", f"{units}; width {model.resnet_width:g}"))
  hidden = f"of {model.pre_logits}" if model.pre_logits else ""
  rows.append((
      "before the head", f"pooling {model.pooling}, "
      + (f"pre_logits {hidden}" if hidden else "no pre_logits")))
  biases = "with" if model.qkv_bias else "without"
  rows.append((
      "details", f"{model.gelu} GELU, "
      f"{posemb.in_words(model.posemb, model.posemb_at)}, {model.block} "
      f"attention, {biases} qkv biases"
      + (", qk norm" if model.qk_norm else "")))
  return rows

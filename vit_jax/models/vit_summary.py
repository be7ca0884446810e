"""A Vision Transformer's architecture in words."""

from typing import Any

from vit_jax.models import posemb


def summary(model: Any) -> list[tuple[str, str]]:
  """Returns (label, text) rows, see `Network.summary`."""
  patch = "x".join(map(str, model.patch_size))
  rows = [(
      "model", f"{model.variant_name}: width {model.width}, depth "
      f"{model.depth}, MLP {model.mlp_dim}, heads {model.num_heads}"
      + (f" of {model.head_dim}" if model.head_dim else "")
      + f", patches {patch}")]
  if model.resnet is not None:
    units = ", ".join(map(str, model.resnet)) or "root only"
    rows.append(("ResNet stem", f"{units}; width {model.resnet_width:g}"))
  hidden = f"of {model.pre_logits}" if model.pre_logits else ""
  rows.append((
      "before the head", f"pooling {model.pooling}, "
      + (f"pre_logits {hidden}" if hidden else "no pre_logits")))
  biases = "with" if model.qkv_bias else "without"
  rows.append((
      "details", ("SwiGLU, " if model.gated else f"{model.gelu} GELU, ") +
      f"{posemb.in_words(model.posemb, model.posemb_at)}, {model.block} "
      f"attention, {biases} qkv biases"
      + "".join(f", {text}" for text in _extras(model))))
  return rows


def _extras(model: Any) -> list[str]:
  """Returns what the network has beside the paper's, in words."""
  extras = {
      "qk norm": model.qk_norm, "layer scale": model.layer_scale,
      f"{model.registers} registers": model.registers,
      "distillation head": model.distilled,
      "norm before the blocks": model.pre_norm,
      "norm after pooling": model.final_norm == "pooled",
      "no final norm": model.final_norm == "none"}
  return [text for text, has in extras.items() if has]

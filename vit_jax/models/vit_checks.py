"""Checks of a VisionTransformer's attributes, before anything is compiled."""

from typing import Any

from vit_jax.errors import UsageError
from vit_jax.models import block as blocks
from vit_jax.models import checks, posemb, remat, residual, resnet_stem
from vit_jax.models.attention import IMPLEMENTATIONS
from vit_jax.models.pooling import POOLINGS

FINAL_NORMS = ("tokens", "pooled", "none")


def check(model: Any) -> None:
  """Raises UsageError for attributes of a VisionTransformer that cannot be."""
  checks.check_patch(model.patch_size)
  checks.check_sizes(
      {k: getattr(model, k) for k in ("width", "depth", "mlp_dim")})
  if model.head_dim is None or model.pooling == "map":
    checks.check_heads(model.width, model.num_heads)
  else:
    checks.check_sizes(
        {k: getattr(model, k) for k in ("num_heads", "head_dim")})
  checks.check_rates({k: getattr(model, k) for k in (
      "dropout", "attention_dropout", "stochastic_depth")})
  checks.check_choice("pooling", model.pooling, POOLINGS)
  checks.check_choice("gelu", model.gelu, residual.GELUS)
  checks.check_choice("block", model.block, blocks.BLOCKS)
  checks.check_choice("stem_eps", model.stem_eps, resnet_stem.STEM_EPS)
  checks.check_choice("remat", model.remat, remat.POLICIES)
  checks.check_choice("attention", model.attention, IMPLEMENTATIONS)
  posemb.check_posemb(model.posemb, model.posemb_at, model.width)
  checks.check_choice("final_norm", model.final_norm, FINAL_NORMS)
  if model.block == "axial" and model.prefix_tokens:
    raise UsageError(
        "model.block='axial' has rows and columns of patches but no class "
        "token or registers; use model.pooling='gap' or 'map', and "
        "model.registers=0")
  if model.distilled and (model.pooling != "cls" or model.registers < 1):
    raise UsageError(
        "model.distilled=True is a second head on the first register beside "
        "the class token; set model.registers=1 and model.pooling='cls'")

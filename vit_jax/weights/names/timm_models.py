"""What timm's names of models say that neither arrays nor config.json do.

A config.json names the model it was made of, and lists what its maker changed
(model_args). The rest is in timm's code: heads, activation, epsilons.
"""

from collections.abc import Mapping
import re
from typing import Any

from vit_jax.weights.names import timm_dinov3

# size: (width, heads). timm's names of models begin with vit_SIZE.
_SIZES = {
    "tiny": (192, 3), "little": (320, 5), "dlittle": (320, 5),
    "wee": (256, 4), "dwee": (256, 4), "xsmall": (256, 4), "small": (384, 6),
    "medium": (512, 8), "mediumd": (512, 8), "betwixt": (640, 10),
    "base": (768, 12), "so150m": (896, 14), "so150m2": (832, 13),
    "large": (1024, 16), "intern300m": (1024, 16), "so400m": (1152, 16),
    "huge": (1280, 16), "giant": (1408, 16), "giantopt": (1536, 16),
    "gigantic": (1664, 16), "7b": (4096, 32)}
# What differs from the size's: part of a name: (width, heads).
_OTHER_SIZES = {
    r"vit_base_patch16_gap_": (768, 16), r"base_patch16_plus_": (896, 14),
    r"huge_plus_patch16_dinov3": (1280, 20),
    r"vit_giant_patch1._(reg._)?(dinov2|tipsv2|radio)": (1536, 24),
    r"test_vit2?$": (64, 2), r"test_vit[34]$": (96, 3)}
_NAME = re.compile(r"(?:vit|deit3?|flexivit|eva)_([a-z0-9]+?)(?:_|$)|test_vit")
_TANH = re.compile(
    r"vit_(base_patch32_siglip|large_patch16_siglip(_gap)?_512"
    r"|so400m_patch16_siglip|giantopt_)")
# What this package's networks do not compute: part of a name: why.
_OTHERS = {
    r"beit3": "a LayerNorm inside of attention and MLP",
    r"aimv2|_pe_": "RMSNorm and gated MLPs or rotary positions",
    r"test_vit3$": "attention pooling that sees registers",
    r"_xp_": "parallel attention and MLP", r"_d?pwee_": "parallel blocks",
    r"_18x2_|36x1": "parallel attention and MLP",
    r"_rpn_": "a LayerNorm behind attention and MLP",
    r"_relpos_|_srelpos_|^beit": "relative positions",
    r"_sam|sam2|hiera|vitamin|swin": "windows of attention",
    r"rope|^eva02|^eva_(?!large)|sapiens2|lingbot":
        "rotary positions"}


def facts(name: str, width: int | None) -> dict[str, Any] | None:
  """Returns arguments of the network that a model's name implies.

  Args:
    name: timm's name of the model.
    width: of the tokens in the arrays. Heads are those of the name only where
      its width is this one.

  Returns:
    Some of num_heads, gelu, ln_eps and posemb; None for a name that is not
    known here.
  """
  match = _NAME.match(name)
  if not match or match[1] not in {None, *_SIZES}:
    return None
  size = next((value for part, value in _OTHER_SIZES.items()
               if re.search(part, name)), None) or _SIZES[match[1]]
  known: dict[str, Any] = {"gelu": "erf", "ln_eps": 1e-6}
  if _TANH.search(name):
    known["gelu"] = "tanh"
  if "quickgelu" in name:
    known["gelu"] = "quick"
  if "_clip_" in name:
    known["ln_eps"] = 1e-5
  if "_dinov3" in name:
    known |= dict(ln_eps=timm_dinov3.EPS, posemb=timm_dinov3.POSEMB)
  if size[0] == width:
    known["num_heads"] = size[1]
  return known


def unsupported(name: str, arguments: Mapping[str, Any]) -> str | None:
  """Returns why the model of a config.json cannot be computed, else None.

  Args:
    name: timm's name of the model.
    arguments: its model_args. Those that the arrays show, and those that only
      matter in training, are harmless.
  """
  for part, why in _OTHERS.items():
    if re.search(part, name):
      return f"timm's {name} has {why}"
  unknown = [key for key in arguments if key not in _HARMLESS
             and arguments[key] not in (None, False)]
  if unknown:
    key = unknown[0]
    return f"model_args.{key}={arguments[key]!r} of timm's {name}"
  return None


# Arguments of timm's VisionTransformer that are read, that the arrays show, or
# that only matter in training.
_HARMLESS = {
    "act_layer", "num_heads", "global_pool", "img_size", "patch_size",
    "in_chans", "num_classes", "embed_dim", "depth", "mlp_ratio", "qkv_bias",
    "qk_norm", "class_token", "no_embed_class", "pos_embed", "fc_norm",
    "dynamic_img_size", "dynamic_img_pad", "drop_rate", "pos_drop_rate",
    "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate",
    "weight_init", "fix_init", "strict_img_size", "init_values",
    "reg_tokens", "num_reg_tokens", "final_norm", "swiglu_mlp",
    "swiglu_align_to"}

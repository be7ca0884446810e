"""Names of the models: "B/16", "ViT-B_16", "b16", "R50+ViT-B_16", "R_Ti_16",
and of the ResNet baselines: "R50x1".

Sizes are Table 1 of the paper, AugReg's Ti and S, big_vision's g and G.
"""

import inspect
import re
from typing import Any

import jax
import jax.numpy as jnp

from vit_jax.errors import UsageError
from vit_jax.models import bit_resnet
from vit_jax.models.bit_resnet import BiTResNet
from vit_jax.models.vit import VisionTransformer

Network = VisionTransformer | BiTResNet

# name: (width D, depth L, MLP, heads). "b" is ViT-b of figure 4: B, halved.
SIZES = {
    "Ti": (192, 12, 768, 3),
    "S": (384, 12, 1536, 6),
    "B": (768, 12, 3072, 12),
    "b": (384, 12, 1536, 6),
    "L": (1024, 24, 4096, 16),
    "H": (1280, 32, 5120, 16),
    "g": (1408, 40, 6144, 16),
    "G": (1664, 48, 8192, 16),
}
# Units of the four stages (paper, appendix B.1.1, and AugReg).
RESNETS = {"26": (2, 2, 2, 2), "50": (3, 4, 6, 3), "101": (3, 4, 23, 3),
           "152": (3, 8, 36, 3)}
DTYPES = ("auto", "float32", "bfloat16", "float16")
# What a ResNet baseline can be told.
BIT_OPTIONS = ("head_bias_init", "dtype", "remat")

_NAME = re.compile(
    r"(?:R(?P<resnet>\d*)(?:x1)?[+_])?(?:ViT-)?(?P<size>[A-Za-z]+)"
    r"[/_](?P<patch>\d+)")
_SHORT = re.compile(r"(?P<size>ti|s|b|l|h)(?P<patch>\d+)")


def parse_variant(name: str) -> dict[str, Any]:
  """Reads a model's name.

  Paper names ("B/16", "R50+B/16"), released names ("ViT-B_16",
  "R50+ViT-B_16"), AugReg names ("R_Ti_16") and short names ("b16", "ti16").
  Capitals count before a slash: "b/32" is the paper's ViT-b, half as wide.
  A hybrid's number is the total down-sampling: at /16 the fourth stage's
  units join the third; "R+" is the stem's root alone under 8x8 patches.

  Returns:
    patch_size, width, depth, mlp_dim, num_heads, resnet, resnet_width.

  Raises:
    UsageError: the name is none of these.
  """
  match = _NAME.fullmatch(name) or _SHORT.fullmatch(name)
  fields = match.groupdict() if match else {}
  size = fields.get("size", "")
  if match and match.re is _SHORT:
    size = size.capitalize()
  if size not in SIZES or int(fields["patch"]) == 0:
    raise UsageError(
        f"model.variant={name!r} is unknown; names look like 'B/16', "
        "'ViT-L_32', 'R50+B/16', 'R_Ti_16' or 'b16', with the sizes "
        f"{', '.join(SIZES)} and any patch size; ResNets are 'R50x1' and the "
        f"like, of {', '.join(bit_resnet.UNITS)} layers")
  patch = int(fields["patch"])
  resnet = None
  if fields.get("resnet") is not None:
    resnet, patch = _hybrid(name, fields["resnet"], patch)
  width, depth, mlp_dim, heads = SIZES[size]
  return dict(
      patch_size=(patch, patch), width=width, depth=depth, mlp_dim=mlp_dim,
      num_heads=heads, resnet=resnet, resnet_width=1.0)


def _hybrid(name: str, layers: str, patch: int) -> tuple[tuple[int, ...], int]:
  """Returns the stem's stages and the patch size on top of them."""
  if not layers:
    # Released as R_Ti_16: 8x8 patches on the root, whose stride is 4.
    if patch % 2:
      raise UsageError(
          f"model.variant={name!r}: the number after R+ is even, such as "
          "'R+Ti/16', which has 8x8 patches on the root")
    return (), patch // 2
  if layers not in RESNETS or (patch != 16 and patch % 32):
    raise UsageError(
        f"model.variant={name!r}: hybrids are R26, R50, R101 or R152 with a "
        "total down-sampling of 16, 32 or a multiple of 32, such as 'R50+B/16'")
  stages = RESNETS[layers]
  if patch == 16:
    return (*stages[:2], stages[2] + stages[3]), 1
  return stages, patch // 32


def variant_name(model: Network) -> str:
  """Returns the paper's name of a model, "custom/16" where it has none."""
  if isinstance(model, BiTResNet):
    return bit_resnet.name_of(model.units, model.width_factor)
  if model.block == "axial":
    return f"Axial-{_plain_name(model)}"
  return _plain_name(model)


def _plain_name(model: VisionTransformer) -> str:
  """Returns the name without the kind of block."""
  sizes = (model.width, model.depth, model.mlp_dim, model.num_heads)
  name = next((k for k, v in SIZES.items() if v == sizes and k != "b"),
              "custom")
  rows, cols = model.patch_size
  patch = str(rows) if rows == cols else f"{rows}x{cols}"
  if model.resnet is None:
    return f"{name}/{patch}"
  if not model.resnet:
    return f"R+{name}/{rows * 2}"
  stride = 4 * 2 ** (len(model.resnet) - 1) * rows
  for layers in RESNETS:
    for total in (16, 32):
      if model.resnet == _hybrid(name, layers, total)[0]:
        return f"R{layers}+{name}/{stride}"
  return f"R+{name}/{stride}"


def compute_dtype(dtype: str) -> Any:
  """Resolves "auto": bfloat16 on TPU and GPU, float32 on CPU.

  Raises:
    UsageError: the dtype is unknown.
  """
  if dtype not in DTYPES:
    raise UsageError(
        f"model.dtype={dtype!r} is unknown; it is one of {', '.join(DTYPES)}")
  if dtype == "auto":
    dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
  return jnp.dtype(dtype).type


def make_model(
    variant: str, *, num_classes: int, **options: Any
) -> Network:
  """Builds any model from its name and what differs from it.

  Args:
    variant: of a ViT or hybrid, see `parse_variant`; or of a ResNet baseline,
      "R50x1", see `vit_jax.models.bit_resnet`.
    num_classes: width of the head, 0 for features.
    **options: see `make_vit`. A ResNet takes head_bias_init, dtype and remat;
      the others are of no use to it, and must be what they are by default.

  Raises:
    UsageError: a name is unknown, or a ResNet is given a Transformer's option.
  """
  sizes = bit_resnet.parse_name(variant)
  if sizes is None:
    return make_vit(variant, num_classes=num_classes, **options)
  known = inspect.signature(make_vit).parameters
  if unknown := set(options) - set(known):
    raise TypeError(f"make_model has no argument {', '.join(sorted(unknown))}")
  for key, value in options.items():
    if key not in BIT_OPTIONS and value != known[key].default:
      raise UsageError(
          f"model.{key}={value!r} is about Transformers, which "
          f"model.variant={variant!r} is not; it takes "
          f"{', '.join(BIT_OPTIONS)}")
  chosen = {key: options[key] for key in BIT_OPTIONS if key in options}
  chosen["dtype"] = compute_dtype(chosen.get("dtype", "auto"))
  return BiTResNet(num_classes, *sizes, **chosen)


def make_vit(
    variant: str,
    *,
    num_classes: int,
    patch_size: int | tuple[int, int] | None = None,
    width: int | None = None,
    depth: int | None = None,
    mlp_dim: int | None = None,
    num_heads: int | None = None,
    pooling: str = "cls",
    pre_logits: bool = False,
    head_bias_init: float = 0.0,
    posemb: str = "1d",
    posemb_at: str = "stem",
    block: str = "global",
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    qkv_bias: bool = True,
    gelu: str = "tanh",
    ln_eps: float = 1e-6,
    stem_eps: str = "released",
    dtype: str = "auto",
    attention: str = "auto",
    remat: str = "none",
    scan: bool = False,
) -> VisionTransformer:
  """Builds a ViT or hybrid from its name and what differs from it.

  Args:
    variant: see `parse_variant`.
    num_classes: width of the head, 0 for features.
    patch_size: pixels, one number or (height, width).
    width, depth, mlp_dim, num_heads: replace the variant's.
    pre_logits: adds the hidden tanh layer of pre-training, as wide as D.
    pooling, head_bias_init, posemb, posemb_at, block, dropout,
      attention_dropout, stochastic_depth, qkv_bias, gelu, ln_eps, stem_eps,
      attention, remat, scan: see `VisionTransformer`.
    dtype: compute dtype, see `compute_dtype`.

  Raises:
    UsageError: a name is unknown, or the heads do not divide the width.
  """
  sizes = parse_variant(variant)
  if patch_size is not None:
    pair = (patch_size,) * 2 if isinstance(patch_size, int) else patch_size
    sizes["patch_size"] = tuple(pair)
  replaced = dict(
      width=width, depth=depth, mlp_dim=mlp_dim, num_heads=num_heads)
  sizes |= {k: v for k, v in replaced.items() if v is not None}
  return VisionTransformer(
      num_classes=num_classes, **sizes, pooling=pooling,
      pre_logits=sizes["width"] if pre_logits else 0,
      head_bias_init=head_bias_init, posemb=posemb, posemb_at=posemb_at,
      block=block, dropout=dropout, attention_dropout=attention_dropout,
      stochastic_depth=stochastic_depth, qkv_bias=qkv_bias, gelu=gelu,
      ln_eps=ln_eps, stem_eps=stem_eps, dtype=compute_dtype(dtype),
      attention=attention, remat=remat, scan=scan)

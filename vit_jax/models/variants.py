"""Builds networks: `make_model` from a name and what differs from it."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp

from vit_jax.errors import UsageError
from vit_jax.models import names
from vit_jax.models.bit_resnet import BiTResNet
from vit_jax.models.vit import VisionTransformer

Network = VisionTransformer | BiTResNet

DTYPES = ("auto", "float32", "bfloat16", "float16")
# What a ResNet baseline can be told.
BIT_OPTIONS = ("head_bias_init", "dtype", "remat")


def variant_name(model: Network) -> str:
  """Returns the paper's name of a model, "custom/16" where it has none."""
  if isinstance(model, BiTResNet):
    return names.resnet_name(model.units, model.width_factor)
  name = names.vit_name(
      patch_size=model.patch_size, width=model.width, depth=model.depth,
      mlp_dim=model.mlp_dim, num_heads=model.num_heads, resnet=model.resnet)
  return f"Axial-{name}" if model.block == "axial" else name


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
    variant: see `vit_jax.models.names`.
    num_classes: width of the head, 0 for features.
    **options: see `make_vit`. A ResNet takes head_bias_init, dtype and remat;
      the others are of no use to it, and must be what they are by default.

  Raises:
    UsageError: a name is unknown, or a ResNet is given a Transformer's option.
  """
  name = names.parse(variant)
  if isinstance(name, names.ViTName):
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
  return BiTResNet(num_classes, **name.sizes, **chosen)


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
    variant: see `vit_jax.models.names`.
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
  sizes = names.parse(variant).sizes
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

"""The Vision Transformer (paper, section 3.1, figure 1).

    z_0  = [x_class; x_p^1 E; ...; x_p^N E] + E_pos              (equation 1)
    z'_l = MSA(LN(z_{l-1})) + z_{l-1}                            (equation 2)
    z_l  = MLP(LN(z'_l)) + z'_l                                  (equation 3)
    y    = LN(z_L^0)                                             (equation 4)

Parameters have the names of the released files in their Linen numbering.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, ClassVar, Self

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from vit_jax.config.sections import ModelConfig
from vit_jax.devices.partition import split_batch
from vit_jax.models import block as blocks
from vit_jax.models import (
    encoder,
    names,
    prefix,
    vit_checks,
    vit_cost,
    vit_stem,
    vit_summary,
)
from vit_jax.models.network import CHANNELS
from vit_jax.models.pooling import WITH_CLASS_TOKEN, pool

OPTIONS = tuple(field.name for field in dataclasses.fields(ModelConfig)
                if field.name not in ("variant", "num_classes"))
# Attributes that only decide how a network is computed or trained.
_NOT_ARCHITECTURE = (
    "head_bias_init", "dropout", "attention_dropout", "stochastic_depth",
    "dtype", "grad_dtype", "attention", "remat", "scan", "parent", "name")


class VisionTransformer(nn.Module):
  """ViT and its hybrids: images in, `(logits, aux)` out.

  Attributes:
    num_classes: width of the head; 0 leaves the head out and returns features.
    patch_size: height and width of a patch, in pixels (of the stem's output
      for a hybrid).
    width: D, of the tokens.
    depth: L, the number of blocks.
    mlp_dim: hidden width of the MLP.
    num_heads: k; must divide the width where `head_dim` is None, and with
      pooling "map" (UsageError otherwise).
    head_dim: D_h of the blocks' heads, None for D / k as in the paper. 12 heads
      of 64 in a width of 512 compute in 768 features.
    resnet: units of each ResNet stage for a hybrid, () for the root alone,
      None for a plain ViT.
    resnet_width: width factor of the stem; 1.0 has 64 root channels.
    pooling: "cls" (class token), "gap" (average of patches), "map" (attention)
      or "cls_gap" (class token and average side by side, as DINOv2).
    registers: learned tokens before patches, not pooled (arXiv 2309.16588).
    distilled: the first register has a head, too; logits are the mean (DeiT).
    pre_logits: width of the hidden tanh layer before the head, 0 for none.
    head_bias_init: of the head's bias; -10 in pre-training with sigmoid loss.
    posemb, posemb_at: kind and place of position embeddings: `models.posemb`.
    block: "global", or "axial" for row and column attention in turn (D.6),
      which has no class token: pooling is then "gap" or "map".
    dropout, attention_dropout, stochastic_depth: rates in training; dropout
      sits after the position embedding and the blocks' dense layers except
      the qkv projections (appendix B.1), as in the official code.
    qkv_bias: biases of the query, key and value projections.
    qk_norm: LayerNorm of the queries and keys of each head, not in the MAP
      head; keeps attention logits from growing (arXiv 2302.05442, section 2).
    layer_scale: learned factors of residual branches: `residual.LayerScale`.
    gated: SwiGLU instead of GELU, see `block.MlpBlock`.
    pre_norm: LayerNorm of the tokens before the first block, as in CLIP.
    final_norm: "tokens", "pooled" (after pooling, timm's fc_norm) or "none".
    gelu: "tanh" (released weights), "erf" or "quick" (CLIP).
    ln_eps: epsilon of every LayerNorm; weights of the transformers library
      use 1e-12.
    stem_eps: epsilons of a hybrid's stem, see `vit_jax.models.resnet_stem`.
    dtype: compute dtype; parameters, logits and statistics are float32.
    grad_dtype: of kernels' gradients, see `vit_jax.models.gradient_dtype`.
    attention: implementation, see `vit_jax.models.attention`.
    remat: "none", "dots" or "full" rematerialisation of a block.
    scan: compile one block and loop it over stacked parameters.
  """

  options: ClassVar[tuple[str, ...]] = OPTIONS
  has_attention: ClassVar[bool] = True
  grid_unit: ClassVar[str] = "tokens"

  num_classes: int
  patch_size: tuple[int, int]
  width: int
  depth: int
  mlp_dim: int
  num_heads: int
  head_dim: int | None = ModelConfig.head_dim
  resnet: tuple[int, ...] | None = None
  resnet_width: float = 1.0
  pooling: str = ModelConfig.pooling
  pre_logits: int = 0
  registers: int = ModelConfig.registers
  distilled: bool = ModelConfig.distilled
  head_bias_init: float = ModelConfig.head_bias_init
  posemb: str = ModelConfig.posemb
  posemb_at: str = ModelConfig.posemb_at
  block: str = ModelConfig.block
  dropout: float = ModelConfig.dropout
  attention_dropout: float = ModelConfig.attention_dropout
  stochastic_depth: float = ModelConfig.stochastic_depth
  qkv_bias: bool = ModelConfig.qkv_bias
  qk_norm: bool = ModelConfig.qk_norm
  layer_scale: bool = ModelConfig.layer_scale
  gated: bool = ModelConfig.gated
  pre_norm: bool = ModelConfig.pre_norm
  final_norm: str = ModelConfig.final_norm
  gelu: str = ModelConfig.gelu
  ln_eps: float = ModelConfig.ln_eps
  stem_eps: str = ModelConfig.stem_eps
  dtype: Any = jnp.float32
  grad_dtype: str = ModelConfig.grad_dtype
  attention: str = ModelConfig.attention
  remat: str = ModelConfig.remat
  scan: bool = ModelConfig.scan

  def __post_init__(self) -> None:
    vit_checks.check(self)
    super().__post_init__()

  @classmethod
  def from_name(
      cls, name: names.ViTName, *, num_classes: int, **options: Any
  ) -> Self:
    """See `Network.from_name`; sizes that are not None replace the name's."""
    patch_size = options["patch_size"]
    if isinstance(patch_size, int):
      options["patch_size"] = (patch_size, patch_size)
    elif patch_size is not None:
      options["patch_size"] = tuple(patch_size)
    options = name.sizes | {
        key: value for key, value in options.items() if value is not None}
    # The hidden layer is as wide as the tokens.
    options["pre_logits"] = options["width"] if options["pre_logits"] else 0
    return cls(num_classes=num_classes, **options)

  @classmethod
  def architecture_keys(cls) -> tuple[str, ...]:
    """See `Network.architecture_keys`."""
    return tuple(
        field.name for field in dataclasses.fields(VisionTransformer)
        if field.name not in _NOT_ARCHITECTURE)

  def architecture(self) -> dict[str, Any]:
    """See `Network.architecture`."""
    return {key: getattr(self, key) for key in self.architecture_keys()}

  @property
  def variant_name(self) -> str:
    """See `Network.variant_name`."""
    # No named model has heads of a width of their own.
    name = names.vit_name(
        patch_size=self.patch_size, width=self.width, depth=self.depth,
        mlp_dim=self.mlp_dim, resnet=self.resnet,
        num_heads=0 if self.head_dim else self.num_heads)
    return f"Axial-{name}" if self.block == "axial" else name

  def summary(self) -> list[tuple[str, str]]:
    """See `Network.summary`."""
    return vit_summary.summary(self)

  @property
  def prefix_tokens(self) -> int:
    """Number of tokens before the patches."""
    return (self.pooling in WITH_CLASS_TOKEN) + self.registers

  def macs(self, image_size: Sequence[int], channels: int = CHANNELS) -> int:
    """See `Network.macs`."""
    return vit_cost.macs(self, image_size, channels)

  def one_block(self) -> tuple[Self, int]:
    """See `Network.one_block`."""
    return self.clone(depth=1, scan=False), self.depth

  def grid(self, image_size: Sequence[int]) -> tuple[int, int]:
    """Returns rows and columns of patches for an image (height, width)."""
    return vit_stem.grid(self, image_size)

  @nn.compact
  def __call__(
      self,
      images: Num[Array, "b h w c"],
      *,
      train: bool = False,
      capture_attention: Sequence[int] = (),
  ) -> tuple[Float[Array, "b k"], dict[str, jax.Array]]:
    """Classifies images.

    Args:
      images: floats in [-1, 1], or uint8, which is normalised here. Height
        and width are those of the position embedding in the parameters.
      train: turns dropout and stochastic depth on; needs a "dropout" key.
      capture_attention: blocks whose softmax weights are returned.

    Returns:
      `(logits, aux)`: logits are float32 (b, num_classes); aux holds "embedded"
      (b n d), "block{i}" (b n d), "encoded" (b n d), "pre_logits" (b d), the
      head's input, "logits", and for the chosen blocks "attention{i}"
      (b h q s), which in axial blocks combines both axes.
    """
    return self._forward(images, train, capture_attention)

  def _forward(
      self, images: jax.Array, train: bool, capture_attention: Sequence[int],
      edit: Callable[[jax.Array], jax.Array] | None = None,
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Applies the network inside the calling method's compact scope.

    `edit` changes the patch embeddings (b n d) before positions are added, as
    masked patch prediction does.
    """
    aux = {}
    # Outside of jit, numpy parameters would make this a numpy array.
    x = jnp.asarray(split_batch(vit_stem.embed(self, images)))
    if edit is not None:
      x = edit(x)
    aux["embedded"] = x
    x = prefix.with_prefix(
        self, x, registers=self.registers,
        class_token=self.pooling in WITH_CLASS_TOKEN)
    x, inside = encoder.Encoder(
        self.depth, self.block_config(), self.grid(images.shape[1:3]),
        block=self.block, posemb=self.posemb, posemb_at=self.posemb_at,
        pre_norm=self.pre_norm, final_norm=self.final_norm,
        remat=self.remat, scan=self.scan, name="Transformer")(
            x, train=train, capture_attention=tuple(capture_attention))
    aux |= inside
    aux["encoded"] = x
    x = split_batch(pool(
        x, self.pooling, self.prefix_tokens, self.block_config()))
    if self.final_norm == "pooled":
      x = self.block_config().layer_norm("pooled_norm")(x)
    if self.pre_logits:
      x = nn.tanh(
          nn.Dense(self.pre_logits, dtype=self.dtype, name="pre_logits")(x))
    aux["pre_logits"] = x
    if self.num_classes:
      x = self._classify("head", x)
      if self.distilled:
        x = (x + self._classify("head_dist", aux["encoded"][:, 1])) / 2
      x = split_batch(x, only=False)
    aux["logits"] = x.astype(jnp.float32)
    return aux["logits"], aux

  def _classify(self, name: str, x: jax.Array) -> jax.Array:
    """Returns the logits of a head."""
    return nn.Dense(
        self.num_classes, dtype=jnp.float32, name=name,
        kernel_init=nn.initializers.zeros,
        bias_init=nn.initializers.constant(self.head_bias_init))(x)

  def block_config(self) -> blocks.BlockConfig:
    """Returns the attributes that all blocks have in common."""
    return blocks.BlockConfig(**{
        field.name: getattr(self, field.name)
        for field in dataclasses.fields(blocks.BlockConfig)})

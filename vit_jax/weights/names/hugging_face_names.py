"""How transformers names the parameters of its ViT-like models.

Three layouts: that of ViT (DeiT, MSN, MAE, I-JEPA; with other names inside of a
layer DINOv2), that of CLIP and SigLIP, and that of DINOv3. What is written is
what every version of transformers understands; newer versions name some parts
differently in memory, and both are read.
"""

from collections.abc import Collection
import re

from vit_jax.weights.names.torch_names import NameTable
from vit_jax.weights.posemb_grid import POSEMB

_BLOCK = "Transformer/encoderblock_#"
_ATTENTION = f"{_BLOCK}/MultiHeadDotProductAttention_0"
_MLP = f"{_BLOCK}/MlpBlock_0"
_POOL = "MAPHead_0/MultiHeadDotProductAttention_0"
_LAYER = "encoder.layer.#"
_LAYERS = "encoder.layers.#"
_NUMBERS = re.compile(r"(?<=\blayer\.)\d+|(?<=\blayers\.)\d+")
_OUTSIDE = {
    "embedding": "embeddings.patch_embeddings.projection",
    "Transformer/encoder_norm": "layernorm",
    "pre_logits": "pooler.dense",
    "head": "classifier",
    f"{_ATTENTION}/query": f"{_LAYER}.attention.attention.query",
    f"{_ATTENTION}/key": f"{_LAYER}.attention.attention.key",
    f"{_ATTENTION}/value": f"{_LAYER}.attention.attention.value",
    f"{_ATTENTION}/out": f"{_LAYER}.attention.output.dense",
}
_TOKENS = {
    "cls": "embeddings.cls_token",
    POSEMB: "embeddings.position_embeddings",
}
_VIT = NameTable(_TOKENS, _OUTSIDE | {
    f"{_BLOCK}/LayerNorm_0": f"{_LAYER}.layernorm_before",
    f"{_BLOCK}/LayerNorm_1": f"{_LAYER}.layernorm_after",
    f"{_MLP}/Dense_0": f"{_LAYER}.intermediate.dense",
    f"{_MLP}/Dense_1": f"{_LAYER}.output.dense",
}, _NUMBERS)
_DEIT = NameTable(
    _TOKENS | {"registers": "embeddings.distillation_token"},
    {**_VIT.modules, "head_dist": "distillation_classifier"}, _NUMBERS)
_DINOV2 = NameTable(
    _TOKENS | {
        "registers": "embeddings.register_tokens",
        f"{_BLOCK}/LayerScale_0/scale": f"{_LAYER}.layer_scale1.lambda1",
        f"{_BLOCK}/LayerScale_1/scale": f"{_LAYER}.layer_scale2.lambda1"},
    _OUTSIDE | {
        f"{_BLOCK}/LayerNorm_0": f"{_LAYER}.norm1",
        f"{_BLOCK}/LayerNorm_1": f"{_LAYER}.norm2",
        f"{_MLP}/Dense_0": f"{_LAYER}.mlp.fc1",
        f"{_MLP}/Dense_1": f"{_LAYER}.mlp.fc2"}, _NUMBERS)
_DINOV2_GATED = NameTable(_DINOV2.parameters, {
    **_DINOV2.modules, f"{_MLP}/glu": f"{_LAYER}.mlp.weights_in",
    f"{_MLP}/Dense_1": f"{_LAYER}.mlp.weights_out"}, _NUMBERS)
_CLIP = NameTable(
    {"cls": "embeddings.class_embedding",
     POSEMB: "embeddings.position_embedding.weight",
     "MAPHead_0/probe": "head.probe"},
    {"embedding": "embeddings.patch_embedding",
     "Transformer/pre_norm": "pre_layrnorm",
     "Transformer/encoder_norm": "post_layernorm",
     "head": "visual_projection",
     f"{_ATTENTION}/query": f"{_LAYERS}.self_attn.q_proj",
     f"{_ATTENTION}/key": f"{_LAYERS}.self_attn.k_proj",
     f"{_ATTENTION}/value": f"{_LAYERS}.self_attn.v_proj",
     f"{_ATTENTION}/out": f"{_LAYERS}.self_attn.out_proj",
     f"{_BLOCK}/LayerNorm_0": f"{_LAYERS}.layer_norm1",
     f"{_BLOCK}/LayerNorm_1": f"{_LAYERS}.layer_norm2",
     f"{_MLP}/Dense_0": f"{_LAYERS}.mlp.fc1",
     f"{_MLP}/Dense_1": f"{_LAYERS}.mlp.fc2",
     f"{_POOL}/qkv": "head.attention.in_proj_",
     f"{_POOL}/out": "head.attention.out_proj",
     "MAPHead_0/LayerNorm_0": "head.layernorm",
     "MAPHead_0/MlpBlock_0/Dense_0": "head.mlp.fc1",
     "MAPHead_0/MlpBlock_0/Dense_1": "head.mlp.fc2"}, _NUMBERS)
_SIGLIP = NameTable(
    _CLIP.parameters, {**_CLIP.modules, "head": "classifier"}, _NUMBERS)

_D3 = "layer.#"
_DINOV3 = NameTable(
    {"cls": "embeddings.cls_token", "registers": "embeddings.register_tokens",
     f"{_BLOCK}/LayerScale_0/scale": f"{_D3}.layer_scale1.lambda1",
     f"{_BLOCK}/LayerScale_1/scale": f"{_D3}.layer_scale2.lambda1"},
    {"embedding": "embeddings.patch_embeddings",
     "Transformer/encoder_norm": "norm",
     f"{_ATTENTION}/query": f"{_D3}.attention.q_proj",
     f"{_ATTENTION}/key": f"{_D3}.attention.k_proj",
     f"{_ATTENTION}/value": f"{_D3}.attention.v_proj",
     f"{_ATTENTION}/out": f"{_D3}.attention.o_proj",
     f"{_BLOCK}/LayerNorm_0": f"{_D3}.norm1",
     f"{_BLOCK}/LayerNorm_1": f"{_D3}.norm2",
     f"{_MLP}/Gate": f"{_D3}.mlp.gate_proj",
     f"{_MLP}/Dense_0": f"{_D3}.mlp.up_proj",
     f"{_MLP}/Dense_1": f"{_D3}.mlp.down_proj"}, _NUMBERS)

# model_type -> how its files are written.
WRITTEN = {
    "vit": _VIT, "ijepa": _VIT, "deit": _DEIT, "dinov2": _DINOV2,
    "dinov2_with_registers": _DINOV2, "clip_vision_model": _CLIP,
    "siglip_vision_model": _SIGLIP, "siglip": _SIGLIP, "dinov3_vit": _DINOV3}
GATED = _DINOV2_GATED
# What stands before the body in files that also have a head.
PREFIXES = {
    "vit": "vit.", "deit": "deit.", "ijepa": "ijepa.", "dinov2": "dinov2.",
    "dinov2_with_registers": "dinov2_with_registers.",
    "clip_vision_model": "vision_model.", "siglip": "vision_model.",
    "siglip_vision_model": "", "dinov3_vit": ""}

# What transformers 5 calls the parts of a layer in memory.
_IN_MEMORY = {
    "layers.#.layernorm_before": f"{_BLOCK}/LayerNorm_0",
    "layers.#.layernorm_after": f"{_BLOCK}/LayerNorm_1",
    "layers.#.mlp.fc1": f"{_MLP}/Dense_0",
    "layers.#.mlp.fc2": f"{_MLP}/Dense_1",
    f"{_LAYER}.mlp.gate_proj": f"{_MLP}/Gate",
    f"{_LAYER}.mlp.up_proj": f"{_MLP}/Dense_0",
    f"{_LAYER}.mlp.down_proj": f"{_MLP}/Dense_1",
} | {
    f"{layer}.attention.{theirs}_proj": f"{_ATTENTION}/{ours}"
    for layer in ("layers.#", _LAYER)
    for theirs, ours in (("q", "query"), ("k", "key"), ("v", "value"),
                         ("o", "out"))}


def _read_only() -> dict[str, str]:
  """Returns their name: ours, of all that the layout of ViT does not have."""
  names = dict(_IN_MEMORY)
  for table in (_DEIT, _DINOV2, GATED, _CLIP, _SIGLIP, _DINOV3):
    for ours, theirs in {**table.parameters, **table.modules}.items():
      names.setdefault(theirs, ours)
      if theirs.startswith(_D3):
        names[f"model.{theirs}"] = ours
  return names | {"cls_classifier": "head"}


READ = NameTable(_VIT.parameters, _VIT.modules, _NUMBERS, _read_only())
PATCH_KERNELS = (
    READ.patch_kernel, _CLIP.patch_kernel, _DINOV3.patch_kernel)


def model_type(names: Collection[str]) -> str:
  """Returns the model_type whose defaults hold for arrays without a config."""
  if any("pre_layrnorm" in name for name in names):
    return "clip_vision_model"
  if any("embeddings.patch_embedding." in name for name in names):
    return "siglip_vision_model"
  if any(name.endswith(_DINOV3.patch_kernel) for name in names):
    return "dinov3_vit"
  if any(".layer_scale1." in name for name in names):
    return "dinov2"
  if any("distillation_token" in name for name in names):
    return "deit"
  return "vit"

"""Names the networks whose files are taken for a ViT's, and what wraps a ViT.

Training code and libraries put a prefix before every name when they wrap a
network: it is removed. For files that are none of this package's networks, the
names of their arrays tell what they are.
"""

from collections.abc import Callable, Collection
import re

from vit_jax.errors import abbreviate

# What wraps a whole network, and where it comes from.
WRAPPERS = {
    "module.": "DistributedDataParallel", "_orig_mod.": "torch.compile",
    "model.": "Lightning and others", "backbone.": "OpenMMLab and others",
    "timm_model.": "transformers' TimmWrapper", "net.": "training code",
    "student.": "DINO", "teacher.": "DINO", "state_dict.": "training code",
    "encoder_q.": "MoCo", "base_encoder.": "MoCo",
}
# Parts of names -> what has them. The first that is found counts.
_FAMILIES = {
    r"relative_position_bias_table|swin": "a Swin Transformer or BEiT",
    r"beit\.|\.gamma_1$|data2vec": "BEiT or data2vec",
    r"detection_tokens|yolos": "YOLOS",
    r"audio_spectrogram": "an Audio Spectrogram Transformer",
    r"tubelet|videomae|vivit": "a video transformer (VideoMAE, ViViT)",
    r"to_patch_embedding": "a ViT of vit-pytorch (lucidrains)",
    r"rope_embed|attn\.rope|mlp\.fc1_g":
        "a ViT with rotary positions or gated MLPs (EVA-02)",
    r"image_encoder\.(blocks|layers)|rel_pos_h": "Segment Anything",
    r"token_mixing|mixer": "MLP-Mixer",
    r"dwconv|conv_dw|convnext": "ConvNeXt",
    r"flava|image_model\.": "FLAVA", r"dpt\.|neck\.": "DPT",
    r"visual\.trunk\.": "an OpenCLIP model around a timm model",
    r"layer\d\.\d+\.conv\d": "a ResNet of PyTorch",
    r"(^|\.)layers\.\d+\.self_attn\.\w_proj|lm_head|wte": "a language model",
    r"(^|\.)encoder\.layer\.\d+\.attention\.self": "BERT or another text model",
}


def wrapper(
    names: Collection[str], matches: Callable[[Collection[str]], bool]
) -> str:
  """Returns the prefix of every name that a wrapper added, "" for none.

  Args:
    names: of all arrays of a file.
    matches: whether names are those of a network, without a prefix.
  """
  prefix, rest = "", list(names)
  while rest and not matches(rest):
    first = next((w for w in WRAPPERS if rest[0].startswith(w)), None)
    if first is None or not all(name.startswith(first) for name in rest):
      return ""
    prefix += first
    rest = [name.removeprefix(first) for name in rest]
  return prefix if rest else ""


def in_words(
    names: Collection[str], matches: Callable[[Collection[str]], bool]
) -> str:
  """Returns what a file with these arrays is, as far as names tell.

  Args:
    names: of all arrays of a file that is no network of this package.
    matches: see `wrapper`.
  """
  for first in WRAPPERS:
    below = [name for name in names if name.startswith(first)]
    if below and wrapper(below, matches):
      others = [name for name in names if not name.startswith(first)]
      return (f"a Vision Transformer below {first!r} ({WRAPPERS[first]}), "
              f"beside {abbreviate(others)}: save its arrays alone")
  for part, family in _FAMILIES.items():
    if any(re.search(part, name) for name in names):
      return f"these look like the arrays of {family}"
  return "give the weights of a ViT"

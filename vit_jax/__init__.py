"""The Vision Transformer in JAX: train it, fine-tune it, load what is released.

    import vit_jax
    vit = vit_jax.load("ViT-B_16.npz", image_size=384)
    vit.predict(["cat.jpg"])

Names are imported when they are first used, so that the command line answers
at once.
"""

import importlib
from typing import Any

from vit_jax import moved

__version__ = "0.1.0"

_WHERE = {
    "load": "vit_jax.weights.load",
    "Loaded": "vit_jax.weights.loaded",
    "train": "vit_jax.training.loop",
    "load_config": "vit_jax.config.find",
    "make_model": "vit_jax.models.variants",
    "VisionTransformer": "vit_jax.models.vit",
    "UserError": "vit_jax.errors",
}
__all__ = ["__version__", *_WHERE]
moved.answer_imports()


def __getattr__(name: str) -> Any:
  """Imports a public name on first use."""
  if name not in _WHERE:
    raise moved.missing(__name__, name)
  return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
  """Lists the public names."""
  return sorted(__all__)
